// What every page does in the browser. All of it is an addition: pages and forms work without it.
// Listeners sit on the document and look for data attributes, so content that htmx brings in needs no set-up.

const root = document.documentElement;
const toasts = document.getElementById("toasts");
const texts = toasts?.dataset ?? {};

function setCookie(name, value) {
  const secure = location.protocol === "https:" ? "; Secure" : "";
  document.cookie = `${name}=${value}; Path=/; Max-Age=${value ? 31536000 : 0}; SameSite=Lax${secure}`;
}

function element(tag, attributes = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
  made.append(...children);
  return made;
}

// Toasts: say what was done. The style sheet takes them away after six seconds, unless pointed at.

function toast(text) {
  if (!toasts || !text) return;
  const close = element("button", { type: "button", "data-dismiss": "", "aria-label": texts.dismiss }, "×");
  toasts.append(element("div", { class: "toast" }, element("span", {}, text), close));
}

document.addEventListener("animationend", (event) => {
  if (event.animationName === "leave") event.target.remove();
});

// Sent by the server as `HX-Trigger: {"toast": "Key revoked"}`.
document.addEventListener("toast", (event) => toast(event.detail?.value));

// Copy buttons: data-copy is the text, or data-target the element nearby that holds it.

function copied(button) {
  const near = button.closest(".code, .secret, .card, dialog, main") ?? document;
  const found = [...near.querySelectorAll(button.dataset.target || "#-")].find((one) => one.checkVisibility());
  return { text: button.dataset.copy || found?.textContent.trim() || "", source: found };
}

async function copy(button) {
  const { text, source } = copied(button);
  try {
    await navigator.clipboard.writeText(text);
  } catch {
    // No clipboard on an insecure origin: leave the text selected for the person to copy.
    if (source) getSelection().selectAllChildren(source);
    return;
  }
  button.classList.add("copied");
  announce(texts.copied);
  setTimeout(() => button.classList.remove("copied"), 2000);
}

function announce(text) {
  const region = document.getElementById("announce");
  if (region) region.textContent = text;
}

// Theme: the links work alone; here they need no new page.

function chooseTheme(link) {
  const value = link.dataset.value;
  setCookie("theme", value === "auto" ? "" : value);
  if (value === "auto") delete root.dataset.theme;
  else root.dataset.theme = value;
  for (const one of document.querySelectorAll("[data-theme-switch] a")) {
    one.toggleAttribute("aria-current", false);
    if (one.dataset.value === value) one.setAttribute("aria-current", "true");
  }
}

// Code blocks: the language chosen once is chosen everywhere and kept.

document.addEventListener("change", (event) => {
  if (!event.target.matches(".code input[type=radio]")) return;
  const { value } = event.target;
  setCookie("code", encodeURIComponent(value));
  for (const other of document.querySelectorAll(".code input[type=radio]")) {
    if (other.value === value) other.checked = true;
  }
});

// Dialogs: browsers without invoker commands, and questions before a form is sent.

function command(button) {
  const dialog = document.getElementById(button.getAttribute("commandfor"));
  if (!(dialog instanceof HTMLDialogElement)) return;
  if (button.getAttribute("command") === "show-modal") dialog.showModal();
  else dialog.close();
}

function ask(question, submitter) {
  const cancel = element("button", { type: "button", class: "btn", value: "" }, texts.cancel);
  const go = element("button", { type: "button", class: submitter.className }, submitter.textContent.trim());
  const words = element("p", { id: "question" }, question);
  const dialog = element("dialog", { "aria-labelledby": "question" });
  dialog.append(element("div", { class: "stack" }, words, element("div", { class: "actions" }, cancel, go)));
  document.body.append(dialog);
  return new Promise((answer) => {
    cancel.addEventListener("click", () => dialog.close());
    go.addEventListener("click", () => dialog.close("yes"));
    dialog.addEventListener("close", () => {
      dialog.remove();
      answer(dialog.returnValue === "yes");
    });
    dialog.showModal();
  });
}

const confirmed = new WeakSet();

document.addEventListener(
  "submit",
  async (event) => {
    const { target: form, submitter } = event;
    const question = submitter?.dataset.confirm;
    if (!question || confirmed.delete(submitter)) return;
    event.preventDefault();
    event.stopImmediatePropagation();
    if (!(await ask(question, submitter))) return;
    confirmed.add(submitter);
    form.requestSubmit(submitter);
  },
  true,
);

// A form is sent once: the button says so until the next page is there.

document.addEventListener("submit", (event) => {
  const { target: form, submitter } = event;
  if (event.defaultPrevented || form.method !== "post") return;
  if (form.dataset.sent) {
    event.preventDefault();
    return;
  }
  form.dataset.sent = "yes";
  submitter?.setAttribute("aria-busy", "true");
});

// What the playground kept of its inputs goes with whoever logs out.

document.addEventListener("submit", ({ target }) => {
  if (!(target.getAttribute("action") || location.pathname).endsWith("/logout/")) return;
  Object.keys(localStorage).filter((key) => key.startsWith("playground:")).forEach((key) => localStorage.removeItem(key));
});

window.addEventListener("pageshow", () => {
  for (const form of document.querySelectorAll("form[data-sent]")) {
    delete form.dataset.sent;
    form.querySelector("[aria-busy]")?.removeAttribute("aria-busy");
  }
});

document.addEventListener("click", (event) => {
  const button = event.target.closest("[data-copy], [data-dismiss], [data-theme-switch] a, [data-sheet], [commandfor]");
  if (!button) return;
  if (button.matches("[data-copy]")) copy(button);
  else if (button.matches("[data-sheet]")) openSheet(document.getElementById(button.dataset.sheet));
  else if (button.matches("[data-dismiss]")) button.closest(".toast, .notice").remove();
  else if (button.matches("[data-theme-switch] a")) {
    event.preventDefault();
    chooseTheme(button);
  } else if (!("commandForElement" in HTMLButtonElement.prototype)) command(button);
});

// Search: a combobox. The field keeps the focus, and the arrows choose among the links that the server sent.

const listOf = (field) => document.getElementById(field.getAttribute("aria-controls"));
const optionsOf = (field) => [...listOf(field).querySelectorAll("[role=option]")];

function choose(field, chosen) {
  for (const option of optionsOf(field)) option.setAttribute("aria-selected", option === chosen);
  field.setAttribute("aria-activedescendant", chosen?.id ?? "");
  chosen?.scrollIntoView({ block: "nearest" });
}

function expand(field, isOpen) {
  optionsOf(field).forEach((option, number) => (option.id = `${field.id}-${number}`));
  field.setAttribute("aria-expanded", isOpen);
  choose(field, null);
}

function moveInList(event) {
  const field = event.target;
  const options = optionsOf(field);
  const isOpen = field.getAttribute("aria-expanded") === "true";
  const here = options.findIndex((option) => option.getAttribute("aria-selected") === "true");
  const last = options.length - 1;
  if (event.key === "Enter" && here >= 0) options[here].click();
  else if (event.key === "Escape") {
    field.dataset.left = field.value; // what is still on its way for these words opens nothing
    if (isOpen) expand(field, false);
    else field.value = "";
  } else if (last >= 0 && (event.key === "ArrowDown" || event.key === "ArrowUp")) {
    if (!isOpen) expand(field, true);
    const to = event.key === "ArrowDown" ? here + 1 : here < 0 ? last : here - 1;
    choose(field, options[to] ?? null); // past either end is the field itself
  } else if (here >= 0 && (event.key === "Home" || event.key === "End")) {
    choose(field, options[event.key === "Home" ? 0 : last]);
  } else return;
  event.preventDefault();
}

function goToSearch(event) {
  const field = document.querySelector('[data-shortcut="/"]');
  event.preventDefault();
  field?.focus();
  field?.select();
}

document.addEventListener("input", ({ target }) => {
  if (target.matches("[role=combobox]")) delete target.dataset.left;
});
document.addEventListener("focusin", ({ target }) => {
  if (target.matches("[role=combobox]") && target.value && optionsOf(target).length) expand(target, true);
});
document.addEventListener("focusout", ({ target }) => {
  if (target.matches("[role=combobox]")) expand(target, false);
});
// A press on an option does not take the focus away, so the list is still there for the click.
document.addEventListener("mousedown", (event) => {
  if (event.target.closest("[role=listbox]")) event.preventDefault();
});

// Filters: on a phone they stand in a dialog, and go back to their place when it closes.

function openSheet(sheet) {
  const part = document.getElementById(sheet.dataset.holds);
  const place = document.createComment("");
  part.replaceWith(place);
  sheet.lastElementChild.before(part);
  sheet.addEventListener("close", () => place.replaceWith(part), { once: true });
  sheet.showModal();
}

// Keys: "/" goes to the search field, "?" shows the keys, the arrows move inside a menu.

document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || event.isComposing) return;
  if (event.target.matches("[role=combobox]")) moveInList(event);
  else if (root.dataset.shortcuts !== "off" && !event.target.closest("input, textarea, select, [contenteditable], dialog")) {
    if (event.key === "/") goToSearch(event);
    else if (event.key === "?") document.getElementById("shortcuts")?.showModal();
  }
  const menu = event.target.closest("[popover].menu") ?? openMenuOf(event.target);
  if (menu && (event.key === "ArrowDown" || event.key === "ArrowUp")) {
    event.preventDefault();
    const items = [...menu.querySelectorAll("a, button")].filter((item) => item.checkVisibility());
    const step = event.key === "ArrowDown" ? 1 : -1;
    const here = items.indexOf(document.activeElement);
    items[here < 0 ? (step > 0 ? 0 : items.length - 1) : (here + step + items.length) % items.length]?.focus();
  }
});

function openMenuOf(button) {
  const menu = button.popoverTargetElement;
  return menu?.matches(":popover-open") ? menu : null;
}

// On a phone the side rail and the tabs scroll sideways: begin where the page is.

for (const rail of document.querySelectorAll(".rail, .tabs")) {
  const here = rail.querySelector("[aria-current]");
  if (here) rail.scrollLeft = here.offsetLeft - rail.offsetLeft - (rail.clientWidth - here.clientWidth) / 2;
}

// Errors: the summary takes the focus; on a new page its `autofocus` does it, after a swap this.

function focusErrors(part) {
  part.querySelector("[data-focus]")?.focus();
}

// htmx: the CSRF token, the bar at the top, faults in words.

let running = 0;

function progress(change) {
  running = Math.max(0, running + change);
  document.body.classList.toggle("htmx-request", running > 0);
}

document.addEventListener("htmx:configRequest", (event) => {
  const token = document.querySelector("input[name=csrfmiddlewaretoken]")?.value;
  if (token && event.detail.verb !== "get") event.detail.headers["X-CSRFToken"] = token;
});
document.addEventListener("htmx:beforeRequest", ({ detail }) => {
  progress(1);
  if (detail.target !== detail.elt) detail.target.setAttribute("aria-busy", "true");
});
document.addEventListener("htmx:afterRequest", ({ detail }) => {
  progress(-1);
  detail.target.removeAttribute("aria-busy");
});
document.addEventListener("htmx:afterSwap", ({ detail }) => {
  focusErrors(detail.target);
  const { elt } = detail.requestConfig;
  if (elt === document.activeElement && elt.matches("[role=combobox]")) {
    expand(elt, optionsOf(elt).length > 0 && elt.value !== elt.dataset.left);
  }
  // What was pressed is gone, such as a filter that was taken away: stay near it.
  else if (!elt.isConnected && document.activeElement === document.body) document.querySelector("[data-landing]")?.focus();
});
document.addEventListener("htmx:responseError", (event) => {
  toast(event.detail.xhr.status === 429 ? texts.slow : texts.failed);
});
document.addEventListener("htmx:sendError", () => toast(texts.offline));
