// Runs the cases of tests/openai_cases.py with the unmodified `openai` for Node: {url, cases} come on the standard
// input, the outcome of each by its name leaves on the standard output. The package is looked for in the directory that
// the first argument names. tests/test_openai_cases.py does the same with the one for Python.

import { createRequire } from "node:module";
import { text } from "node:stream/consumers";

const { OpenAI } = createRequire(`${process.argv[2]}/package.json`)("openai");
const { url, cases } = JSON.parse(await text(process.stdin));
const outcomes = {};

for (const one of cases) {
  let attempts = 0;
  const client = new OpenAI({
    baseURL: `${url}/v1`,
    apiKey: one.credential,
    maxRetries: one.retries ?? 0,
    fetch: (...request) => (attempts++, fetch(...request)),
  });
  const outcome = (outcomes[one.name] = { chunks: [] });
  try {
    const answer = await call(client, one);
    outcome.request_id = answer._request_id ?? null;
    if (one.body?.stream) for await (const chunk of answer) outcome.chunks.push(plain(chunk));
    else outcome.result = plain(answer);
  } catch (error) {
    if (!(error instanceof OpenAI.APIError)) throw error;
    const { status = null, code = null, type = null, param = null, requestID = null } = error;
    outcome.error = { name: error.constructor.name, status, code, type, param, request_id: requestID };
    outcome.error.body = plain(error.error ?? null);
  }
  outcome.attempts = attempts;
}
process.stdout.write(JSON.stringify(outcomes));

function call(client, { method, body, extra, model }) {
  const given = { ...body, ...extra, model };
  if (method === "chat") return client.chat.completions.create(given);
  if (method === "completions") return client.completions.create(given);
  if (method === "embeddings") return client.embeddings.create(given);
  return method === "models.list" ? client.models.list() : client.models.retrieve(model);
}

function plain(value) {
  return JSON.parse(JSON.stringify(value));
}
