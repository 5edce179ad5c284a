// Keys: "/" comes to the filter; arrows go from card to card; n and p turn pages; Escape stops what runs.
const runs = document.getElementById("runs");
let slow, stopped;
// Going to where no page is (204) ends the page that is on its way, and this one stays; `window.stop()` does not in
// Chromium. The server notices, and stops too.
function stop() { clearTimeout(slow); runs.hidden = stopped = true; location.assign("/stop"); }
addEventListener("beforeunload", () => {
  if (!stopped) slow = setTimeout(() => { runs.hidden = false; }, 1000);
  stopped = false;
});
addEventListener("pageshow", () => { clearTimeout(slow); runs.hidden = true; });
runs.querySelector("button").addEventListener("click", stop);
addEventListener("keydown", (event) => {
  if (event.key === "Escape" && !runs.hidden) return stop();
  if (event.target.matches("input, select, textarea") || event.ctrlKey || event.metaKey || event.altKey) return;
  const cards = [...document.querySelectorAll(".grid a")];
  const at = cards.indexOf(document.activeElement);
  const row = Math.max(cards.findIndex((card) => card.offsetTop > cards[0].offsetTop), 1);
  const step = { ArrowRight: 1, ArrowLeft: -1, ArrowDown: row, ArrowUp: -row }[event.key];
  if (event.key === "/") document.getElementById("keep").focus();
  else if (step && cards.length && (at >= 0 || event.key === "ArrowRight" || event.key === "ArrowLeft")) cards[Math.min(Math.max(at + step, 0), cards.length - 1)].focus();
  else if (event.key === "n") document.querySelector("a[rel=next]")?.click();
  else if (event.key === "p") document.querySelector("a[rel=prev]")?.click();
  else return;
  event.preventDefault();
});
for (const box of document.querySelectorAll("[data-layer]"))
  box.addEventListener("change", () => {
    document.querySelectorAll(".layer")[box.dataset.layer].classList.toggle("off", !box.checked);
  });
for (const range of document.querySelectorAll("[data-shows]")) {
  const shown = document.getElementById(range.dataset.shows);
  range.addEventListener("input", () => { shown.value = Number(Number(range.value).toPrecision(4)); });
  range.addEventListener("change", () => range.form.requestSubmit());
}
// What is typed of a field's name in the filter is completed: a list of the browser's own completes whole texts.
const keep = document.getElementById("keep");
const list = document.getElementById("fields");
const names = [...list.options].map((one) => one.value.trim());
keep.addEventListener("input", () => {
  const [, before, begun] = keep.value.match(/^([^]*?)([\w.:-]*)$/);
  const fit = begun || !before.trim() ? names.filter((name) => name.startsWith(begun)) : [];
  list.replaceChildren(...fit.slice(0, 50).map((name) => Object.assign(document.createElement("option"), { value: `${before}${name} `, label: name })));
});
