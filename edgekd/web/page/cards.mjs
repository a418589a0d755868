/* What a person sees: one card for each model, a row for each thing that is known of it. */

const DOING = { load: "Loading", infer: "Predicting with", time: "Timing" };

/** Headline, light and a sentence. */
export function show(light, headline, says) {
  document.querySelector("#light").className = light;
  document.querySelector("#says").textContent = says;
  if (headline) document.querySelector("#headline").textContent = headline;
}

export class Cards {
  constructor(place) {
    this.place = place;
    this.all = new Map();
    this.card = null;
  }

  begin(request) {
    if (request.shown) this.card = this.open(request.shown);
    show("busy", "This browser is the device", `${DOING[request.do]} ${this.card?.name ?? "nothing yet"}`);
  }

  end(answer) {
    if (!this.card) return;
    if (answer.kind === "loaded" && !this.card.rows.has("First load")) this.row("First load", milliseconds(answer.ms));
    if (answer.kind === "timed") this.times(answer.samples_ms);
    if (answer.kind === "failed") this.row("Failed", answer.error, false);
    show("busy", null, "Waiting for work");
  }

  note({ row, text, good }) {
    if (this.card) this.row(row, text, good);
  }

  /** The median of each replicate; what is shown is the median of those, and from the lowest to the highest. */
  times(samples) {
    this.card.medians.push(middle(samples));
    const [low, high] = [Math.min(...this.card.medians), Math.max(...this.card.medians)];
    const runs = this.card.medians.length;
    const range = runs > 1 ? ` (${milliseconds(low)} to ${milliseconds(high)} in ${runs} runs)` : "";
    const shown = this.row("One inference", milliseconds(middle(this.card.medians)));
    shown.append(element("span", "range", range));
  }

  facts({ agent, platform, cores, isolated, gpu }) {
    const rows = {
      "Browser": agent, "System": platform, "Cores": `${cores}`,
      "Threads": isolated ? "allowed" : "one: this address is not one that browsers call secure",
      "WebGPU": gpu ?? "not here",
    };
    const list = document.querySelector("#facts");
    for (const [name, text] of Object.entries(rows)) list.append(element("dt", "", name), element("dd", "", text));
  }

  open({ name, kind }) {
    const key = `${name} ${kind}`;
    if (!this.all.has(key)) {
      const article = element("article");
      const list = element("dl");
      article.append(element("h2", "", name), element("p", "kind", kind), list);
      this.place.append(article);
      this.all.set(key, { name, list, rows: new Map(), medians: [] });
    }
    return this.all.get(key);
  }

  row(name, text, good) {
    if (!this.card.rows.has(name)) {
      const shown = element("dd");
      this.card.list.append(element("dt", "", name), shown);
      this.card.rows.set(name, shown);
    }
    const shown = this.card.rows.get(name);
    shown.textContent = text;
    shown.className = good === undefined ? "" : good ? "good" : "bad";
    return shown;
  }
}

function element(kind, style = "", text = "") {
  const made = document.createElement(kind);
  if (style) made.className = style;
  made.textContent = text;
  return made;
}

function middle(values) {
  const sorted = [...values].sort((a, b) => a - b);
  const half = sorted.length >> 1;
  return sorted.length % 2 ? sorted[half] : (sorted[half - 1] + sorted[half]) / 2;
}

function number(value) {
  return value.toPrecision(3).replace(/e\+(\d+)/, (_, power) => "0".repeat(power));
}

function milliseconds(value) {
  return value < 1 ? `${number(value * 1000)} µs` : value < 1000 ? `${number(value)} ms` : `${number(value / 1000)} s`;
}
