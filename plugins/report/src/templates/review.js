// A reader's answer: accept, reject or comment on each candidate, kept in the browser, saved as a file.
const Review = (() => {
  const holder = document.getElementById("review-head");
  if (!holder) return null;
  const head = JSON.parse(holder.textContent), part = (name) => document.getElementById("review-" + name);
  const numbers = Object.keys(head.candidates).map(Number), words = { accepted: "accepted", rejected: "rejected" };
  const place = `neuroloom-review ${head.reviewed} ${head.case}`;
  const earlier = new Map(head.earlier.map((decision) => [decision.candidate, decision]));
  let decisions = new Map(earlier), saved = true, kept = true;
  const bar = document.getElementById("review"), now = part("now");
  // Whole seconds, as the program writes times.
  const time = () => new Date().toISOString().slice(0, 19) + "Z";
  const same = (a, b) => a && b && a.reader === b.reader && a.comment === b.comment && a.by === b.by && a.at === b.at;
  const own = () => [...decisions.values()].filter((decision) => !same(decision, earlier.get(decision.candidate)));
  const make = (name, attributes = {}, ...content) => {
    const element = Object.assign(document.createElement(name), attributes);
    element.append(...content);
    return element;
  };

  // What the browser kept of an earlier visit; some keep nothing for pages of a folder.
  function restore() {
    try {
      const text = localStorage.getItem(place);
      if (!text) return;
      const state = JSON.parse(text);
      for (const decision of state.decisions) if (decision.candidate in head.candidates) decisions.set(decision.candidate, decision);
      part("reader").value = state.reader;
      saved = state.saved;
    } catch { kept = false; }
  }
  function keep() {
    try {
      localStorage.setItem(place, JSON.stringify({ reader: part("reader").value, saved, decisions: own() }));
      kept = true;
    } catch { kept = false; }
  }

  // Changes what is said about a candidate. What was signed by somebody is signed anew.
  function set(candidate, change) {
    const old = decisions.get(candidate);
    const next = { candidate, model: head.candidates[candidate], reader: null, comment: "", ...old, ...change, by: null, at: time() };
    if (next.reader === null && !next.comment && !earlier.has(candidate)) decisions.delete(candidate);
    else decisions.set(candidate, next);
    saved = false;
    tell("");
    keep();
    show();
  }
  function verdict(candidate, reader) {
    const given = decisions.get(candidate)?.reader;
    if (given !== reader) set(candidate, { reader });
    // What another review says can be answered, not taken back.
    else if (!earlier.get(candidate)?.reader) set(candidate, { reader: null });
  }

  function tell(text, wrong = false) {
    part("said").textContent = text;
    part("said").classList.toggle("wrong", wrong);
  }
  function count() {
    const given = [...decisions.values()].filter((decision) => decision.reader);
    const changed = given.filter((decision) => decision.reader !== decision.model).length;
    const said = [`${given.length} of ${numbers.length} candidates decided`, `${changed} changed`];
    if (own().length) said.push(saved ? "saved" : kept ? "not saved to a file yet" : "not saved, and lost when this page is closed");
    bar.classList.toggle("unsaved", !saved);
    bar.classList.toggle("begun", decisions.size > 0);
    document.body.classList.toggle("reviewing", decisions.size > 0);
    const text = said.join(", ");
    if (part("state").textContent !== text) part("state").textContent = text;
    Object.assign(bar.dataset, { decided: given.length, changed, saved });
  }

  function buttons(candidate, long) {
    return Object.keys(words).map((reader) => {
      const word = reader === "accepted" ? "accept" : "reject", sign = reader === "accepted" ? "✓" : "✗";
      const button = make("button", { type: "button", className: "verdict-button", title: word }, long ? `${sign} ${word}` : sign);
      button.dataset.verdict = reader;
      button.setAttribute("aria-label", `${word} candidate ${candidate}`);
      button.addEventListener("click", () => verdict(candidate, reader));
      return button;
    });
  }
  function press(parent, reader) {
    for (const button of parent.querySelectorAll(".verdict-button")) button.setAttribute("aria-pressed", String(button.dataset.verdict === reader));
  }
  function rows() {
    document.querySelectorAll("#candidates .review").forEach((cell) => { cell.hidden = false; });
    for (const row of document.querySelectorAll("#candidates tr[data-lesion]")) {
      const candidate = Number(row.dataset.lesion), cell = row.querySelector("td.review");
      if (!(candidate in head.candidates)) continue;
      cell.append(...buttons(candidate, false), make("span", { className: "said" }));
      const box = make("textarea", { rows: 2, maxLength: 4000 });
      box.addEventListener("change", () => set(candidate, { comment: box.value.trim() }));
      let details = row.querySelector("td.more details");
      if (!details) {
        details = make("details", {}, make("summary", {}, "more"));
        row.querySelector("td.more").append(details);
      }
      details.append(make("label", { className: "comment" }, `Comment on candidate ${candidate} `, box));
    }
  }

  // The candidate that was chosen in the viewer.
  let chosen = 0, line = null;
  function follow() {
    const candidate = Viewer.state.chosen;
    if (!now || candidate === chosen) return;
    chosen = candidate in head.candidates ? candidate : 0;
    now.hidden = !chosen;
    if (!chosen) return;
    line = make("input", { type: "text", maxLength: 4000 });
    line.setAttribute("aria-label", `comment on candidate ${candidate}`);
    line.addEventListener("change", () => set(candidate, { comment: line.value.trim() }));
    line.addEventListener("keydown", (event) => {
      if (event.key === "Escape" || event.key === "Enter") document.querySelector("#viewer canvas").focus({ preventScroll: true });
    });
    const model = head.candidates[candidate].replace("_", " ");
    now.replaceChildren(make("strong", {}, `Candidate ${candidate}`), make("span", {}, `model: ${model}`),
      make("span", {}, ...buttons(candidate, true)), make("label", { className: "comment" }, "Comment ", line));
    show();
  }
  function keys(event) {
    if (event.ctrlKey || event.metaKey || event.altKey || event.target.matches("input:not([type=checkbox]), select, textarea")) return;
    const act = { y: () => verdict(chosen, "accepted"), x: () => verdict(chosen, "rejected"), c: () => line.focus() }[event.key];
    if (!act || !chosen) return;
    event.preventDefault();
    act();
  }

  function show() {
    count();
    for (const row of document.querySelectorAll("#candidates tr[data-lesion]")) {
      const decision = decisions.get(Number(row.dataset.lesion)), cell = row.querySelector("td.review");
      press(cell, decision?.reader);
      row.classList.toggle("decided", Boolean(decision));
      cell.dataset.verdict = decision?.reader || "";
      const who = decision && (decision.by || part("reader").value.trim());
      const said = decision ? [decision.reader && (who ? `${words[decision.reader]}, ${who}` : words[decision.reader]), decision.comment] : [];
      const span = cell.querySelector(".said"), box = row.querySelector(".comment textarea");
      if (span) span.textContent = said.filter(Boolean).join(": ");
      if (box && document.activeElement !== box) box.value = decision?.comment || "";
    }
    if (chosen) {
      press(now, decisions.get(chosen)?.reader);
      if (document.activeElement !== line) line.value = decisions.get(chosen)?.comment || "";
    }
  }

  function file(reader) {
    const signed = time();
    const list = own().sort((a, b) => a.candidate - b.candidate).map((decision) => ({ ...decision, by: decision.by || reader }));
    return { format: "neuroloom-review", version: 1, case: head.case, reviewed: head.reviewed, reader, signed, decisions: list };
  }
  function save() {
    document.activeElement?.blur?.();
    const reader = part("reader").value.trim();
    if (!reader) {
      tell("Sign with your initials first.", true);
      part("reader").focus();
      return;
    }
    const review = file(reader);
    for (const decision of review.decisions) decisions.set(decision.candidate, decision);
    const link = make("a", {
      download: head.case.replace(/[^A-Za-z0-9_-]+/g, "-") + "_review.json",
      href: URL.createObjectURL(new Blob([JSON.stringify(review, null, 2) + "\n"], { type: "application/json" })),
    });
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 10000);
    saved = true;
    keep();
    show();
    tell(`Saved as ${link.download}. For new labels, measures and a new page: neuroloom review OUT ${link.download}`);
  }

  // Why a file cannot be loaded; nothing if it can.
  function fault(review) {
    if (!["neuroloom-review", "neuroloom-reviews"].includes(review?.format) || !Array.isArray(review.decisions)) return "This is no review.";
    if (review.version !== 1) return `This review is of version ${review.version}, and this page knows 1.`;
    if (review.case !== head.case) return `This review is of ${review.case}, not of ${head.case}.`;
    if (review.reviewed !== head.reviewed) return "This review was made on another result of this case, whose candidates are others.";
    const odd = review.decisions.find((decision) => !(decision.candidate in head.candidates) || ![null, "accepted", "rejected"].includes(decision.reader)
      || ["comment", "by", "at"].some((key) => typeof decision[key] !== "string"));
    return odd ? "This review is damaged." : "";
  }
  function load(text) {
    let review;
    try { review = JSON.parse(text); } catch { return tell("This is no review: it is no JSON.", true); }
    const wrong = fault(review);
    if (wrong) return tell(wrong, true);
    let taken = 0;
    for (const { candidate, reader, comment, by, at } of review.decisions) {
      const known = decisions.get(candidate);
      if (known && known.at >= at) continue;
      decisions.set(candidate, { candidate, model: head.candidates[candidate], reader, comment, by, at });
      taken += 1;
    }
    saved = saved && taken === 0;
    keep();
    show();
    tell(`${taken} of ${review.decisions.length} decisions were taken over; what was decided later here stays.`);
  }

  function start() {
    restore();
    rows();
    bar.hidden = false;
    part("reader").addEventListener("input", () => { keep(); show(); });
    part("save").addEventListener("click", save);
    part("load").addEventListener("click", () => part("file").click());
    part("file").addEventListener("change", async () => {
      const [chosenFile] = part("file").files;
      if (chosenFile) load(await chosenFile.text());
      part("file").value = "";
    });
    part("reset").addEventListener("click", () => {
      if (!own().length || !confirm("Forget all that was decided on this page?")) return;
      decisions = new Map(earlier);
      saved = true;
      keep();
      show();
      tell("");
    });
    window.addEventListener("beforeunload", (event) => { if (!saved && !kept) event.preventDefault(); });
    if (Viewer) {
      document.addEventListener("viewer-moved", follow);
      document.getElementById("viewer").addEventListener("keydown", keys);
    }
    show();
  }
  start();
  return { load, file, decisions: () => decisions };
})();
