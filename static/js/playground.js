// The playground: an answer as it comes with its figures, stop, errors at their fields, links, inputs of earlier runs.
// All of it is an addition: without it the form is posted, and the page comes back with the answer.

const form = document.getElementById("play");
const words = form.dataset;
const at = (id) => document.getElementById(id);
const cell = (name) => at("figures").querySelector(`[data-cell=${name}] dd`);
const say = (text) => (at("announce").textContent = text);
const answered = () => say(`${words.answered} ${cell("total").textContent}, ${cell("cost").textContent}`);
let run = null; // what stops the run under way

function element(tag, attributes, ...children) {
  const made = Object.assign(document.createElement(tag), attributes);
  made.append(...children);
  return made;
}

async function start() {
  if (run) return;
  run = new AbortController();
  const state = { began: performance.now(), streams: Boolean(form.elements.stream?.checked) };
  const sent = values();
  begin(state.streams);
  try {
    const headers = { Accept: state.streams ? "text/event-stream" : "application/json" };
    const answer = await fetch(form.action, { method: "POST", body: new FormData(form), headers, signal: run.signal });
    if (answer.ok) keep({ id: answer.headers.get("x-request-id"), sent });
    if (answer.headers.get("Content-Type").startsWith("text/event-stream")) await follow(answer.body, state);
    else whole(await answer.json(), answer.ok);
  } catch (error) {
    fail(error.name === "AbortError" ? words.stopped : words.offline);
  }
  run = null;
  const place = { target: "#runs", select: "#runs", swap: "outerHTML" };
  setTimeout(() => htmx.ajax("GET", location.pathname, place), state.ended ? 0 : 1500); // what broke off settles later
}

function begin(streams) {
  for (const one of form.querySelectorAll(".err, .errors")) one.hidden = true;
  for (const control of form.querySelectorAll("[aria-invalid]")) control.removeAttribute("aria-invalid");
  for (const one of at("figures").querySelectorAll("dd")) one.textContent = "–";
  const stop = element("button", { type: "button", className: "btn sm", onclick: () => run.abort() }, words.stop);
  cell("status").replaceChildren(streams ? words.streaming : words.running, " ", stop);
  at("answer").replaceChildren();
  at("raw").replaceChildren();
  say(words.running);
}

async function follow(body, state) {
  const reader = body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  for (let part = await reader.read(); !part.done; part = await reader.read()) {
    const events = (rest + part.value).split("\n\n");
    rest = events.pop();
    for (const event of events) take(event, state);
  }
  if (!state.ended) fail(words.offline);
  else if (!at("answer").hasChildNodes()) at("answer").append(words.silent);
}

function take(event, state) {
  const [, name, data] = event.match(/^(?:event: (.*)\n)?data: ([^]*)$/);
  if (name) {
    state.ended = name === "receipt";
    fill(JSON.parse(data));
    if (state.ended && !state.failed) answered();
    return;
  }
  at("raw").append(`${event}\n\n`);
  const { choices, error } = data === "[DONE]" ? {} : JSON.parse(data);
  const text = choices?.[0]?.delta?.content ?? choices?.[0]?.text;
  if (text && !at("answer").hasChildNodes()) cell("first").textContent = `${Math.round(performance.now() - state.began)} ms`;
  if (text) at("answer").append(text);
  if (error) fail(error.message, (state.failed = error.code));
}

function whole(answer, isGood) {
  fill(answer);
  if (!isGood) return answer.errors ? explain(answer) : fail(answer.message, answer.status, answer.link);
  const list = element("dl", { className: "kv" });
  for (const [name, value, isPicture] of answer.answer.pairs ?? []) {
    const told = element("dd", {}, isPicture ? element("img", { src: value, alt: name }) : value);
    list.append(element("div", {}, element("dt", {}, name), told));
  }
  at("answer").append(list.firstChild ? list : answer.answer.text || words.silent);
  at("raw").append(answer.raw);
  answered();
}

// Markup that the server made of the request and of the receipt; an answer is never among it.
function fill(parts) {
  for (const part of ["asked", "code", "figures"]) if (part in parts) at(part).innerHTML = parts[part];
}

function fail(text, status = "–", link = null) {
  const more = link ? [" ", element("a", { href: link.href }, link.text)] : [];
  at("answer").append(element("p", { className: "notice bad" }, element("span", {}, text, ...more)));
  if (cell("status").querySelector("button")) cell("status").textContent = status;
  say(text);
}

function explain({ errors, faults, status }) {
  const lines = errors.map(({ id, label, message }) => {
    Object.assign(at(`${id}_error`), { textContent: message, hidden: false });
    at(id).setAttribute("aria-invalid", "true");
    at(id).closest("details")?.setAttribute("open", "");
    return element("li", {}, element("a", { href: `#${id}` }, label), `: ${message}`);
  });
  at("errors").querySelector("ul").replaceChildren(...faults.map((fault) => element("li", {}, fault)), ...lines);
  at("errors").hidden = false;
  at("errors").focus();
  cell("status").textContent = status;
  at("answer").append(words.unsent);
}

// Inputs: a link to them, and those of the last runs, which this browser alone keeps.

const shared = () => [...form.querySelectorAll("[data-share]")].map((field) => field.dataset);
const values = (data = new FormData(form)) => Object.fromEntries(shared().map(({ share }) => [share, data.get(share) ?? ""]));
const storage = (work) => { try { return work(localStorage); } catch { return null; } }; // there may be none, or no room
const kept = () => storage((store) => JSON.parse(store.getItem(words.storage))) ?? [];
const keep = (one) => storage((store) => store.setItem(words.storage, JSON.stringify([one, ...kept()].slice(0, 20))));
const sentBy = (button) => kept().find((one) => one.id === button.dataset.again)?.sent;

function share() {
  const link = new URL(location.pathname, location.origin), now = values();
  for (const { share, initial } of shared()) if (now[share] !== initial) link.searchParams.set(share, now[share]);
  at("share").dataset.copy = link.href;
  at("share").disabled = link.search.length > words.maxLink;
}

function use(sent) {
  for (const control of [...form.elements].filter((one) => one.name in sent)) {
    if (control.matches("[type=checkbox], [type=radio]")) control.checked = control.value === sent[control.name];
    else control.value = sent[control.name];
  }
  form.dispatchEvent(new Event("input", { bubbles: true }));
  form.scrollIntoView();
}

const offer = () => document.querySelectorAll("[data-again]").forEach((button) => (button.hidden = !sentBy(button)));

form.addEventListener("submit", (event) => {
  if (!("runs" in words)) return; // a stranger is sent to log in
  event.preventDefault();
  start();
});
form.addEventListener("input", share);
form.addEventListener("keydown", (event) => event.key === "Enter" && (event.ctrlKey || event.metaKey) && form.requestSubmit());
document.addEventListener("click", ({ target }) => target.matches("[data-again]") && use(sentBy(target)));
document.addEventListener("htmx:afterSettle", offer);
share();
offer();
