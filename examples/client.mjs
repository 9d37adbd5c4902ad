// Node 18 or newer, nothing to install: call a model, stream a chat, read the receipt.
//
//   AGORAI_URL=http://localhost:8000 AGORAI_API_KEY=agr_live_… node examples/client.mjs

const url = (process.env.AGORAI_URL ?? "http://localhost:8000").replace(/\/$/, "");
const key = process.env.AGORAI_API_KEY;

/** POST the body, or GET without one. Ends the program with the answer's words if it is an error. */
async function send(path, body) {
  const response = await fetch(url + path, {
    method: body ? "POST" : "GET",
    headers: { Authorization: `Bearer ${key}`, "Content-Type": "application/json" },
    body: body && JSON.stringify(body),
  }).catch((error) => stop(`${url} does not answer: ${error.cause?.message ?? error.message}`));
  if (!response.ok) stop(`${path} answered ${response.status}: ${await response.text()}`);
  return response;
}

function stop(words) {
  console.error(words);
  process.exit(1);
}

/** The JSON of each server-sent event up to [DONE]. */
async function* events(response) {
  let rest = "";
  for await (const text of response.body.pipeThrough(new TextDecoderStream())) {
    const lines = (rest + text).split("\n");
    rest = lines.pop();
    for (const line of lines) {
      if (!line.startsWith("data: ")) continue;
      if (line.trim() === "data: [DONE]") return;
      yield JSON.parse(line.slice(6));
    }
  }
}

if (!key) stop("Set AGORAI_API_KEY.");

const answer = await send("/api/models/demo:sentiment/invoke", { text: "I love how simple this is!" });
console.log("Sentiment:", (await answer.json()).label);

const messages = [{ role: "user", content: "I need a holiday" }];
process.stdout.write("Chat: ");
for await (const event of events(await send("/v1/chat/completions", { model: "demo/eliza", messages, stream: true }))) {
  for (const choice of event.choices) process.stdout.write(choice.delta.content ?? "");
}
console.log();

const receipt = await (await send(`/v1/requests/${answer.headers.get("x-request-id")}`)).json();
console.log(`Receipt: ${receipt.id} cost ${receipt.cost.amount} ${receipt.cost.currency}`);
