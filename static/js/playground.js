// The playground: an answer as it comes with its figures, stop, errors at their fields, links, inputs of earlier runs.
// All of it is an addition: without it the form is posted, and the page comes back with the answer.

const form = document.getElementById("play");
const words = form.dataset;
const at = (id) => document.getElementById(id);
const cell = (name) => at("figures").querySelector(`[data-cell=${name}] dd`);
const say = (text) => (at("announce").textContent = text);
const answered = () => say(`${words.answered} ${cell("total").textContent}, ${cell("cost").textContent}`);
const isSignedIn = "runs" in words;
let run = null; // what stops the run under way
function element(tag, attributes, ...children) {
  const made = Object.assign(document.createElement(tag), attributes);
  made.append(...children);
  return made;
}

async function start() {
  if (run) return;
  run = new AbortController();
  begin(form.elements.stream?.checked);
  const state = { began: performance.now() };
  const sent = values();
  try {
    const headers = { Accept: form.elements.stream?.checked ? "text/event-stream" : "application/json" };
    const answer = await fetch(form.action, { method: "POST", body: new FormData(form), headers, signal: run.signal });
    if (answer.ok) keep({ id: answer.headers.get("x-request-id"), sent });
    if (answer.headers.get("Content-Type").startsWith("text/event-stream")) await follow(answer.body, state);
    else whole(await answer.json(), answer.ok);
  } catch (error) {
    fail({ AbortError: words.stopped, SyntaxError: words.failed }[error.name] ?? words.offline);
  }
  run = null;
  const refresh = () => htmx.ajax("GET", location.pathname, { target: "#runs", select: "#runs", swap: "outerHTML" });
  setTimeout(refresh, state.ended ? 0 : 1500); // what broke off is settled a little later
}

function begin(streams) {
  form.querySelectorAll(".err, .errors").forEach((one) => (one.hidden = true));
  form.querySelectorAll("[aria-invalid]").forEach((one) => one.removeAttribute("aria-invalid"));
  at("figures").querySelectorAll("dd").forEach((one) => (one.textContent = "–"));
  const stop = element("button", { type: "button", className: "btn sm", onclick: () => run.abort() }, words.stop);
  cell("status").replaceChildren(streams ? words.streaming : words.running, " ", stop);
  for (const one of [at("answer"), at("raw")]) one.replaceChildren();
  say(words.running);
}

async function follow(body, state) {
  const reader = body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  for (let part = await reader.read(); !part.done; part = await reader.read()) {
    const events = (rest + part.value).split("\n\n");
    rest = events.pop();
    events.forEach((event) => take(event, state));
  }
  if (!state.ended) fail(words.offline);
  else if (!at("answer").hasChildNodes()) at("answer").append(words.silent);
}

function take(event, state) {
  const [, name, data] = event.match(/^(?:event: (.*)\n)?data: ([^]*)$/);
  if (name) fill(JSON.parse(data));
  if (name) return (state.ended = name === "receipt" && (state.failed || answered()));
  at("raw").append(`${event}\n\n`);
  const { choices, error } = data === "[DONE]" ? {} : JSON.parse(data);
  const text = choices?.[0]?.delta?.content ?? choices?.[0]?.text ?? "";
  const isFirst = text && !at("answer").hasChildNodes();
  if (isFirst) cell("first").textContent = `${Math.round(performance.now() - state.began)} ms`;
  if (text) at("answer").append(text);
  if (error) fail(error.message, (state.failed = error.code));
}

function whole(answer, isGood) {
  fill(answer);
  if (!isGood) return answer.fields ? explain(answer) : fail(answer.message, answer.status, answer.link);
  const list = element("dl", { className: "kv" });
  for (const [name, value, isPicture] of answer.answer.pairs ?? []) {
    const told = isPicture ? element("img", { src: value, alt: name }) : value;
    list.append(element("div", {}, element("dt", {}, name), element("dd", {}, told)));
  }
  at("answer").append(list.firstChild ? list : answer.answer.text || words.silent);
  at("raw").append(answer.raw);
  answered();
}

// Markup that the server made of the request and of the receipt; an answer is never among it.
function fill(parts) {
  for (const part of ["asked", "code", "figures", "errors"]) if (part in parts) at(part).innerHTML = parts[part];
}

function fail(text, status = "–", link = null) {
  const way = link ? element("a", { href: link.href }, link.text) : "";
  const className = `notice ${text === words.stopped ? "info" : "bad"}`;
  at("answer").append(element("p", { className }, element("span", {}, text, " ", way)));
  if (cell("status").querySelector("button")) cell("status").textContent = status;
  say(text);
}

function explain({ fields, status }) {
  for (const [id, message] of Object.entries(fields)) {
    Object.assign(at(`${id}_error`), { textContent: message, hidden: false });
    at(id).setAttribute("aria-invalid", "true");
    at(id).closest("details")?.setAttribute("open", "");
  }
  at("errors").hidden = false;
  at("errors").focus();
  cell("status").textContent = status;
  at("answer").append(words.unsent);
}

// Inputs: a link to them, and those of the last runs, which this browser alone keeps.
const fields = [...form.querySelectorAll("[data-share]")].map((field) => field.dataset);
const values = (sent = new FormData(form)) => Object.fromEntries(fields.map((f) => [f.share, sent.get(f.share) ?? ""]));
const attempt = (work) => { try { return work(); } catch { return null; } }; // there may be no storage, or no room
const kept = () => attempt(() => JSON.parse(localStorage.getItem(words.storage))) ?? [];
const keep = (one) => attempt(() => localStorage.setItem(words.storage, JSON.stringify([one, ...kept()].slice(0, 20))));
const sentBy = (button) => kept().find((one) => one.id === button.dataset.again)?.sent;

function share() {
  const link = new URL(location.pathname, location.origin), now = values();
  for (const { share, initial } of fields) if (now[share] !== initial) link.searchParams.set(share, now[share]);
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

const offer = () => document.querySelectorAll("[data-again]").forEach((one) => (one.hidden = !sentBy(one)));
form.addEventListener("submit", (event) => {
  if (!isSignedIn) return attempt(() => sessionStorage.setItem(words.draft, JSON.stringify(values()))); // on to log in
  event.preventDefault();
  start();
});
form.addEventListener("input", share);
form.addEventListener("keydown", ({ key, ctrlKey, metaKey }) => {
  if (key === "Enter" && (ctrlKey || metaKey)) form.requestSubmit();
});
document.addEventListener("click", ({ target }) => target.matches("[data-again]") && use(sentBy(target)));
document.addEventListener("htmx:afterSettle", offer);
const draft = isSignedIn && attempt(() => JSON.parse(sessionStorage.getItem(words.draft)));
if (draft) use(draft, sessionStorage.removeItem(words.draft));
share();
offer();
