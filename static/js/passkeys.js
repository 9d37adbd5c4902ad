// Passkeys: forms with data-passkey="create" or "get" are sent with what the browser's own dialog answers.
// They are hidden where a browser knows no passkeys. What is asked for stands in the page or at data-from.

const supported = "PublicKeyCredential" in window && navigator.credentials;
let waiting; // the request that offers passkeys while somebody types an address

function toBytes(text) {
  return Uint8Array.from(atob(text.replaceAll("-", "+").replaceAll("_", "/")), (character) => character.charCodeAt(0));
}

function toText(buffer) {
  if (!buffer) return undefined;
  return btoa(String.fromCharCode(...new Uint8Array(buffer))).replaceAll("+", "-").replaceAll("/", "_").replaceAll("=", "");
}

function read({ publicKey }) {
  const named = (list) => list?.map((one) => ({ ...one, id: toBytes(one.id) }));
  const found = { ...publicKey, challenge: toBytes(publicKey.challenge) };
  if (found.user) found.user = { ...found.user, id: toBytes(found.user.id) };
  if (found.excludeCredentials) found.excludeCredentials = named(found.excludeCredentials);
  if (found.allowCredentials) found.allowCredentials = named(found.allowCredentials);
  return found;
}

function write(credential) {
  const response = {};
  for (const name of ["clientDataJSON", "attestationObject", "authenticatorData", "signature", "userHandle"]) {
    if (credential.response[name]) response[name] = toText(credential.response[name]);
  }
  const { id, type, authenticatorAttachment } = credential;
  const clientExtensionResults = credential.getClientExtensionResults();
  return JSON.stringify({ id, rawId: id, type, authenticatorAttachment, clientExtensionResults, response });
}

async function optionsOf(form) {
  if (!form.dataset.from) return JSON.parse(document.getElementById(form.dataset.options).textContent);
  const answer = await fetch(form.dataset.from, { headers: { Accept: "application/json" } });
  if (!answer.ok) throw new Error(`Passkeys: ${answer.status}`);
  return (await answer.json()).request_options;
}

async function ask(form, how = {}) {
  const options = await optionsOf(form);
  const isNew = form.dataset.passkey === "create";
  const publicKey = read(isNew ? options.creation_options ?? options : options.request_options ?? options);
  if (isNew) publicKey.authenticatorSelection = { ...publicKey.authenticatorSelection, residentKey: "preferred" };
  const credential = await navigator.credentials[isNew ? "create" : "get"]({ publicKey, ...how });
  form.elements.credential.value = write(credential);
  HTMLFormElement.prototype.submit.call(form);
}

function say(form, failed) {
  const said = form.querySelector("[data-failed]");
  if (said) said.hidden = !failed;
}

for (const form of document.querySelectorAll("form[data-passkey]")) {
  if (!supported) {
    form.hidden = true;
    continue;
  }
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    say(form, false);
    waiting?.abort();
    try {
      await ask(form);
    } catch {
      say(form, true);
    }
  });
}

// The address field of the log-in page offers the passkeys of this device, once somebody goes there.
const field = document.querySelector('input[autocomplete~="webauthn"]');
const offer = document.querySelector("form[data-passkey][data-from]");
if (supported && field && offer) {
  field.addEventListener("focus", async () => {
    if (!(await PublicKeyCredential.isConditionalMediationAvailable?.())) return;
    waiting = new AbortController();
    ask(offer, { mediation: "conditional", signal: waiting.signal }).catch(() => {}); // nobody asked for it
  }, { once: true });
}
