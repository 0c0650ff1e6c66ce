// Glue between the page's inputs and its charts: Vega draws, altair wrote what.
"use strict";

const read = (id) => {
  const element = document.getElementById(id);
  return element ? JSON.parse(element.textContent) : null;
};
const views = {};

// ---- charts
async function draw() {
  const specs = read("charts");
  const config = read("theme-of-charts");
  for (const place of document.querySelectorAll("[data-chart]")) {
    const name = place.dataset.chart;
    const spec = { $schema: "https://vega.github.io/schema/vega-lite/v6.json", ...specs[name] };
    const drawn = await vegaEmbed(place, spec, { config, renderer: "svg", actions: false });
    views[name] = drawn.view;
  }
}

// ---- colours: as the system says, light, dark
function colours() {
  const button = document.getElementById("theme");
  const modes = ["auto", "light", "dark"];
  let mode = 0;
  button.addEventListener("click", () => {
    mode = (mode + 1) % modes.length;
    const chosen = modes[mode];
    if (chosen === "auto") delete document.documentElement.dataset.theme;
    else document.documentElement.dataset.theme = chosen;
    button.querySelector("span").textContent = chosen;
    button.setAttribute("aria-label", `Colours: ${chosen === "auto" ? "as the system says" : chosen}`);
  });
}

// ---- the film of the snapshots
function film() {
  const frames = read("film-frames");
  const slider = document.getElementById("film");
  if (!slider) return;
  const play = document.getElementById("play");
  const filmed = Object.values(views).filter((view) => "frame" in view.getState().signals);
  let timer = null;

  const show = () => {
    const number = Number(slider.value);
    const frame = frames[number];
    for (const view of filmed) view.signal("frame", number).runAsync();
    document.getElementById("film-step").textContent = `step ${frame.step.toLocaleString("en")}`;
    document.getElementById("film-says").textContent = frame.says;
    slider.setAttribute("aria-valuetext", `after ${frame.step} steps`);
  };
  const stop = () => {
    clearInterval(timer);
    timer = null;
    play.setAttribute("aria-pressed", "false");
    play.textContent = "▶ play";
  };
  slider.addEventListener("input", () => { stop(); show(); });
  play.addEventListener("click", () => {
    if (timer) return stop();
    if (slider.value === slider.max) slider.value = 0;
    show();
    play.setAttribute("aria-pressed", "true");
    play.textContent = "❚❚ stop";
    timer = setInterval(() => {
      slider.value = Number(slider.value) + 1;
      show();
      if (slider.value === slider.max) stop();
    }, 700);
  });
  show();
}

// ---- the picker
function unpack(packed) {
  const bytes = (column) => Uint8Array.from(atob(packed[column]), (letter) => letter.charCodeAt(0));
  const pairs = (column) => new Uint16Array(bytes(column).buffer);
  const keys = pairs("keys");
  const columns = {
    keys,
    tokens: packed.words.length > 256 ? pairs("tokens") : bytes("tokens"),
    prompt: bytes("prompt"), split: bytes("split"), given: pairs("given"), right: bytes("right"),
    probability: pairs("probability"), surprisal: bytes("surprisal"), attention: bytes("attention"),
  };
  const index = new Map();
  for (let n = 0; n < packed.count; n++) index.set(keys.subarray(3 * n, 3 * n + 3).join(), n);
  return { columns, index };
}

function fact(packed, columns, n) {
  const { length, asks, heads } = packed;
  const ids = Array.from(columns.tokens.subarray(n * length, (n + 1) * length));
  const end = ids.indexOf(0) < 0 ? length : ids.indexOf(0); // 0 is padding
  const seen = {};
  // Equal words on one axis are told apart by zero-width spaces.
  const words = ids.slice(0, end).map((id) => {
    const word = packed.words[id];
    seen[word] = (seen[word] ?? -1) + 1;
    return word + "\u200b".repeat(seen[word]);
  });
  const asked = words.slice(0, columns.prompt[n]);
  return {
    question: asked.slice(1).map((word) => word.replaceAll("\u200b", "")).join(" "),
    truth: words.slice(columns.prompt[n], -1).map((word) => word.replaceAll("\u200b", "")).join(" "),
    given: packed.answers[columns.given[n]],
    right: columns.right[n] === 1,
    split: packed.splits[columns.split[n]],
    probability: columns.probability[n] / 65535,
    surprise: words.slice(1).map((word, t) => ({ word, place: t, nats: columns.surprisal[n * (length - 1) + t] * packed.nats })),
    attention: heads.flatMap((head, h) => asked.map((word, t) =>
      ({ head, word, place: t, weight: columns.attention[(n * heads.length + h) * asks + t] / 255 }))),
  };
}

// What is said of a question that no sentence of this world asks.
function unknown(operation, left, right, largest) {
  if (![left, right].every((value) => Number.isInteger(value) && value >= 0 && value <= largest)) {
    return `Its world has the whole numbers from 0 to ${largest}.`;
  }
  if (operation === "minus" && left < right) return "There is no such fact in its world: it has no numbers below zero.";
  if (operation === "times" && left * right > largest) {
    return `There is no such fact in its world: it has no products above ${largest}.`;
  }
  if (operation === "divided by" && right === 0) return "There is no such fact: nothing can be divided by zero.";
  if (operation === "divided by" && left % right) return "There is no such fact in its world: the division leaves a rest.";
  return "There is no such fact in the data that it was made from.";
}

function ask() {
  const packed = read("packed-facts");
  if (!packed) return;
  const { columns, index } = unpack(packed);
  const [left, operation, right] = ["left", "operation", "right"].map((name) => document.getElementById(`ask-${name}`));
  const answer = document.getElementById("ask-answer");
  const charts = document.getElementById("ask-charts");
  const wrong = Array.from(columns.right.keys()).filter((n) => !columns.right[n]);
  const seenIn = {
    train: "It was shown this fact in training.",
    validation: "It never trained on this fact; it is one of those that settings were chosen by.",
    test: "It never saw this fact: it is one of the test.",
    "held out": "It never saw this fact: it is held out of all splits.",
  };

  const line = (name, text) => {
    const element = document.createElement("p");
    element.className = name;
    element.textContent = text;
    return element;
  };
  const show = () => {
    const [a, b] = [left, right].map((input) => (input.value === "" ? NaN : Number(input.value)));
    const n = index.get([packed.operations.indexOf(operation.value), a, b].join());
    charts.hidden = n === undefined;
    if (n === undefined) {
      answer.replaceChildren(line("said", unknown(operation.value, a, b, packed.largest)),
        line("how", "What a model says to such a question was not computed, so nothing is shown."));
      return;
    }
    const it = fact(packed, columns, n);
    const verdict = it.right ? "✓ right" : `✗ wrong: it is ${it.truth}`;
    answer.replaceChildren(
      line("said", `${it.question} … ${it.given || "(nothing)"}`),
      line(it.right ? "right" : "wrong", `${verdict}; it gave this answer a probability of ${(100 * it.probability).toFixed(1)} %`),
      line("how", seenIn[it.split]),
    );
    views["ask-surprise"].data("picked_surprise", it.surprise).resize().runAsync();
    views["ask-attention"].data("picked_attention", it.attention).resize().runAsync();
  };
  const pick = (n) => {
    [left.value, right.value] = [columns.keys[3 * n + 1], columns.keys[3 * n + 2]];
    operation.value = packed.operations[columns.keys[3 * n]];
    show();
  };
  for (const input of [left, operation, right]) input.addEventListener("input", show);
  document.getElementById("ask-form").addEventListener("submit", (event) => event.preventDefault());
  document.getElementById("ask-random").addEventListener("click", () => pick(Math.floor(Math.random() * packed.count)));
  const wrongs = document.getElementById("ask-wrong");
  wrongs.hidden = wrong.length === 0;
  wrongs.addEventListener("click", () => pick(wrong[Math.floor(Math.random() * wrong.length)]));
  show();
}

// ---- the assistant's picker
function talk() {
  const packed = read("packed-talk");
  if (!packed) return;
  const choice = document.getElementById("talk-question");
  const answer = document.getElementById("talk-answer");
  const { questions, called, forms } = packed;
  const element = (name, className, text) => {
    const made = document.createElement(name);
    made.className = className;
    made.textContent = text;
    return made;
  };
  const verdict = (right, formed, expected) => {
    if (!formed) return ["wrong", "✗ in none of the forms: not counted as an answer"];
    if (right === null) return ["aside", "it goes on; there is nothing to be right or wrong"];
    if (right) return ["right", "✓ right"];
    return ["wrong", expected === null ? "✗ this is to be refused" : `✗ it is ${expected}`];
  };
  const show = () => {
    const it = questions[choice.value];
    const list = element("dl", "spoken", "");
    it.said.forEach(([text, probability, ended, right, formed], stage) => {
      const row = document.createElement("div");
      const said = document.createElement("dd");
      const [name, says] = verdict(right, formed, it.expected);
      said.append(element("span", "text", `${text || "(nothing)"}${ended ? "" : " …"}`), document.createElement("br"),
        element("span", name, says), element("span", "aside", `; probability of just this ${(100 * probability).toFixed(1)} %`));
      row.append(element("dt", "", called[stage]), said);
      list.append(row);
    });
    answer.replaceChildren(list);
    const rows = called.flatMap((stage, place) =>
      forms.map((form, rank) => ({ stage, form, p: it.p[place][rank], place, rank })));
    views["said-forms"].data("picked_forms", rows).resize().runAsync();
  };
  const pick = (some) => {
    choice.value = some[Math.floor(Math.random() * some.length)];
    show();
  };
  const all = [...questions.keys()];
  const differ = all.filter((n) => new Set(questions[n].said.slice(1).map((one) => one[0])).size > 1);
  choice.addEventListener("input", show);
  document.getElementById("talk-form").addEventListener("submit", (event) => event.preventDefault());
  document.getElementById("talk-random").addEventListener("click", () => pick(all));
  const button = document.getElementById("talk-differ");
  button.hidden = differ.length === 0;
  button.addEventListener("click", () => pick(differ));
  show();
}

colours();
draw().then(() => {
  film();
  ask();
  talk();
  document.documentElement.dataset.drawn = "all";
});
