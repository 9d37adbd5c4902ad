// Charts: the figures of the bucket under the pointer, or of the one that the arrow keys reach. The same figures are in
// the table under each chart. Listeners sit on the document, so charts that htmx brings in need no set-up.

const STEPS = { ArrowRight: 1, ArrowLeft: -1, Home: -Infinity, End: Infinity };
const DISTANCE = 4; // between a bucket and its tip, in pixels
let shown = null; // the bucket whose tip is out

function hide() {
  if (!shown) return;
  shown.classList.remove("on");
  shown.closest(".plot").querySelector(".tip").remove();
  shown = null;
}

function show(hit) {
  if (hit === shown) return;
  hide();
  shown = hit;
  hit.classList.add("on");
  const tip = document.createElement("div");
  tip.className = "tip";
  tip.setAttribute("aria-hidden", "true"); // announced instead, and only when asked for by keys
  tip.textContent = hit.dataset.tip;
  const plot = hit.closest(".plot");
  plot.append(tip);
  const frame = plot.getBoundingClientRect();
  const bucket = hit.getBoundingClientRect();
  const after = bucket.right - frame.left + DISTANCE;
  const before = bucket.left - frame.left - DISTANCE - tip.offsetWidth;
  const furthest = frame.width - tip.offsetWidth;
  // Through the style object: the content security policy forbids the attribute, not this.
  tip.style.left = `${Math.max(0, Math.min(after <= furthest ? after : before, furthest))}px`;
}

document.addEventListener("pointerover", (event) => {
  if (event.target.matches(".plot .hit")) show(event.target);
  else hide();
});

document.addEventListener("pointerout", (event) => {
  if (!event.relatedTarget) hide(); // the pointer left the window
});

document.addEventListener("focusout", (event) => {
  if (event.target.matches(".plot")) hide();
});

document.addEventListener("keydown", (event) => {
  if (event.key === "Escape") hide();
  if (!event.target.matches(".plot") || !(event.key in STEPS)) return;
  if (event.ctrlKey || event.metaKey || event.altKey) return;
  event.preventDefault();
  const hits = [...event.target.querySelectorAll(".hit")];
  const start = event.key === "ArrowLeft" ? hits.length : -1;
  const here = hits.includes(shown) ? hits.indexOf(shown) : start;
  show(hits[Math.max(0, Math.min(here + STEPS[event.key], hits.length - 1))]);
  const region = document.getElementById("announce");
  if (region) region.textContent = shown.dataset.tip.replaceAll("\n", ", ");
});
