"use strict";
(() => {
  const all = (selector, root = document) => [...root.querySelectorAll(selector)];
  const one = (id) => document.getElementById(id);
  const number = (value) => value.toLocaleString("en-US");

  // Names of languages: the browser knows them, so the page need not carry them.
  let names = null;
  try { names = new Intl.DisplayNames(["en"], { type: "language", fallback: "none" }); } catch { /* codes will do */ }
  const languageName = (code) => {
    if (code === "und") return "Undetermined";
    try { return names ? names.of(code) : null; } catch { return null; }
  };
  for (const place of all("[data-code]")) {
    const name = languageName(place.dataset.code);
    if (!name) continue;
    if (place.tagName === "OPTION") { place.textContent = `${name} (${place.dataset.code})`; continue; }
    const code = document.createElement("span");
    code.className = "code";
    code.textContent = place.dataset.code;
    place.replaceChildren(name, code);
  }

  // The gallery: filter by language and text, open a card.
  const cards = all("#gallery .card");
  const entries = cards.map((card) => ({ card, text: card.textContent.toLowerCase() }));
  const filter = one("filter");
  if (filter) {
    filter.hidden = false;
    const text = one("filter-text"), language = one("filter-language");
    let allShown = false;
    const apply = () => {
      const words = text.value.toLowerCase().split(/\s+/).filter(Boolean);
      const filtered = words.length > 0 || language.value !== "";
      let shown = 0;
      for (const entry of entries) {
        const fits = (!language.value || entry.card.dataset.language === language.value)
          && words.every((word) => entry.text.includes(word));
        shown += fits;
        entry.card.hidden = !fits || (!filtered && !allShown && "later" in entry.card.dataset);
      }
      one("more-row").hidden = filtered || allShown || !cards.some((card) => card.hidden);
      one("filter-count").textContent = shown === cards.length ? `${shown} samples` : `${shown} of ${cards.length} samples`;
      one("no-match").hidden = shown > 0;
    };
    text.addEventListener("input", apply);
    language.addEventListener("change", apply);
    filter.addEventListener("submit", (event) => event.preventDefault());
    one("filter-clear").addEventListener("click", () => { text.value = language.value = ""; apply(); text.focus(); });
    one("show-all").addEventListener("click", () => {
      allShown = true;
      apply();
      cards.find((card) => "later" in card.dataset).querySelector(".show").focus();
    });
    addEventListener("beforeprint", () => { allShown = true; apply(); });
    apply();
  }
  for (const { card } of entries) {
    const button = card.querySelector(".show");
    button.addEventListener("click", () => {
      button.setAttribute("aria-expanded", String(card.classList.toggle("open")));
    });
  }

  // Reasons: all at once, and by address.
  const reasons = all("details.reason");
  const tools = document.querySelector(".tools");
  if (tools && reasons.length) {
    tools.hidden = false;
    one("open-reasons").addEventListener("click", () => { for (const reason of reasons) reason.open = true; });
    one("close-reasons").addEventListener("click", () => { for (const reason of reasons) reason.open = false; });
  }
  const follow = () => {
    const target = location.hash && one(decodeURIComponent(location.hash.slice(1)));
    if (target && target.tagName === "DETAILS") target.open = true;
  };
  addEventListener("hashchange", follow);
  follow();

  // Histograms: what would be left if a cut stood elsewhere.
  for (const figure of all(".histogram")) {
    const counts = figure.dataset.counts.split(",").map(Number);
    const edges = figure.dataset.edges.split("|");
    const total = Number(figure.dataset.total);
    const bins = all(".bin", figure);
    const box = figure.querySelector(".try");
    const low = box.querySelector(".low"), high = box.querySelector(".high"), output = box.querySelector("output");
    const unit = ["characters", "words", "pixels"].includes(figure.dataset.unit) ? ` ${figure.dataset.unit}` : "";
    const update = (moved) => {
      if (+low.value >= +high.value) {
        if (moved === low) low.value = +high.value - 1; else high.value = +low.value + 1;
      }
      const from = +low.value, to = +high.value;
      let kept = 0;
      counts.forEach((count, i) => {
        const within = i >= from && i < to;
        kept += within ? count : 0;
        bins[i].classList.toggle("out", !within);
      });
      const parts = [];
      if (from > 0) parts.push(`from ${edges[from]}`);
      if (to < counts.length) parts.push(`below ${edges[to]}`);
      const words = parts.length ? `If cut ${parts.join(", ")}${unit}: ` : "";
      low.setAttribute("aria-valuetext", `from ${edges[from]}${unit}`);
      high.setAttribute("aria-valuetext", to < counts.length ? `below ${edges[to]}${unit}` : "no upper cut");
      output.textContent = words
        ? `${words}${number(kept)} kept (${(100 * kept / total).toFixed(1)} %)`
        : "";
    };
    for (const input of [low, high]) input.addEventListener("input", () => update(input));
    update(null);
    box.hidden = false;
    for (const hint of all(".hint")) hint.hidden = false;
  }
})();
