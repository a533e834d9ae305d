// One policy's side of a slot: its queue as a chart, how its batch fills the resources, whom it loses.

const FOOTPRINT_TICKS = [0, 0.02, 0.1, 0.25, 0.5, 1];

/** A mark of the chart: a circle, a cross in its place for who expires, a ring for who is treated differently. */
function markShape(classes, label = "") {
  return shape("g", { class: `mark ${classes}` },
    shape("circle", { class: "ring", r: 11 }),
    shape("circle", { class: "dot", r: 6.5 }),
    shape("path", { class: "cross", d: "M-6-6 6 6M6-6-6 6" }),
    shape("text", { y: -14, "text-anchor": "middle" }, label));
}

class Panel {
  constructor(side) {
    this.side = side;
    this.marks = new Map();
    this.name = element("span", {});
    this.tally = element("p", { class: "tally" });
    this.svg = shape("svg", { class: "queue", role: "img" });
    this.bars = element("div", { class: "bars" });
    this.left = element("ul", { class: "left" });
    this.running = CONTINUOUS ? new RunningView() : null;
    this.root = element("div", { class: "panel" }, element("h3", {}, this.name), this.tally, this.svg, this.running?.root ?? "", this.bars, this.left);
    this.segments = Object.fromEntries(KINDS.map((kind) => [kind, this.addBar(kind)]));
  }

  addBar(kind) {
    const meter = element("div", { class: "meter" });
    const number = element("b", {});
    this.bars.append(element("span", {}, kind), meter, number);
    return { meter, number, parts: new Map() };
  }

  /** Draw axes for an episode and a policy; marks of what was there before go. */
  begin(episode, policy) {
    this.episode = episode;
    this.policy = policy;
    this.totals = episode.servedSoFar(policy);
    this.root.style.setProperty("--own", `var(${lookOf(policy).variable})`);
    this.name.replaceChildren(swatch(policy), shortened(policy, 40));
    this.name.title = policy;
    this.drawAxes();
  }

  drawAxes() {
    const box = this.svg.getBoundingClientRect();
    const width = Math.max(220, box.width), height = Math.max(160, box.height);
    const edge = { left: 42, right: 14, top: 24, bottom: 36 };
    const most = this.episode.mostSlack;
    this.x = (slack) => edge.left + (Math.min(most, Math.max(0, slack)) / most) * (width - edge.left - edge.right);
    this.y = (share) => height - edge.bottom - Math.sqrt(Math.min(1, share)) * (height - edge.top - edge.bottom);
    this.svg.setAttribute("viewBox", `0 0 ${width} ${height}`);
    const step = most > 24 ? 10 : most > 12 ? 4 : most > 8 ? 2 : 1;
    const across = Array.from({ length: Math.floor(most / step) + 1 }, (_, index) => index * step);
    const narrowZone = this.x(1) - this.x(0) < 74;
    const axes = shape("g", { "aria-hidden": "true" },
      shape("rect", { class: "urgent", x: this.x(0), y: edge.top, width: this.x(1) - this.x(0), height: height - edge.top - edge.bottom }),
      across.map((slack) => [
        shape("line", { class: "grid", x1: this.x(slack), x2: this.x(slack), y1: edge.top, y2: height - edge.bottom }),
        shape("text", { x: this.x(slack), y: height - edge.bottom + 15, "text-anchor": "middle" }, String(slack)),
      ]).flat(),
      FOOTPRINT_TICKS.map((share) => [
        shape("line", { class: "grid", x1: edge.left, x2: width - edge.right, y1: this.y(share), y2: this.y(share) }),
        shape("text", { x: edge.left - 7, y: this.y(share) + 4, "text-anchor": "end" }, `${100 * share} %`),
      ]).flat(),
      shape("text", { class: "urgent-word", x: this.x(0) + 5, y: edge.top + 13 }, narrowZone ? "urgent" : "can hardly wait"),
      shape("text", { x: width - edge.right, y: height - 4, "text-anchor": "end" }, CONTINUOUS ? "slots to spare, run alone →" : "slack, in slots →"),
      shape("text", { x: 0, y: 10 }, CONTINUOUS ? "↑ footprint: largest share of KV cache or link" : "↑ footprint: largest share of a slot"));
    this.layer = shape("g", {});
    this.svg.replaceChildren(axes, this.layer);
    this.marks.clear();
    this.spot = null;
  }

  /** Show a slot. `differing` has the requests that the other policy treats differently, `smooth` moves marks there. */
  show(slot, differing, smooth) {
    const queue = this.episode.queue(this.policy, slot);
    const served = queue.filter((one) => one.served);
    this.tally.replaceChildren(CONTINUOUS ? "admits " : "serves ", element("b", {}, String(served.length)), ` of ${queue.length} waiting · `, element("b", {}, String(this.totals[slot])), " served so far");
    this.svg.setAttribute("aria-label", `${this.policy}, slot ${slot}: ${queue.length} requests wait, ${served.length} are served`);
    // A jump shows the other slot at once.
    this.layer.classList.toggle("still", !smooth);
    this.showMarks(queue, differing, smooth);
    this.running?.show(this.episode, this.policy, slot);
    this.showBars(slot, served);
    this.showLeft(slot, queue);
  }

  showMarks(queue, differing, smooth) {
    const here = new Set(queue.map((one) => one.request));
    for (const [request, mark] of this.marks) {
      if (here.has(request)) continue;
      this.marks.delete(request);
      if (smooth) {
        mark.classList.add("gone");
        setTimeout(() => mark.remove(), 340);
      } else mark.remove();
    }
    for (const one of queue) {
      const { request } = one;
      let mark = this.marks.get(request);
      if (!mark) {
        mark = markShape("", String(request));
        mark.append(shape("title", {}));
        this.marks.set(request, mark);
        this.layer.append(mark);
      }
      mark.setAttribute("class", ["mark", one.served && "served", one.expires && "expires", differing.has(request) && "differs"].filter(Boolean).join(" "));
      mark.dataset.request = request;
      // A label above the topmost marks would lie on the axis' title.
      mark.querySelector("text").setAttribute("y", this.y(one.footprint) < 50 ? 24 : -14);
      mark.style.transform = `translate(${this.x(one.slack).toFixed(1)}px, ${this.y(one.footprint).toFixed(1)}px)`;
      mark.querySelector("title").textContent = `Request ${request}: ${slackWords(one.slack)}; takes ${KINDS.map((kind) => `${percent(one.shares[kind])} ${kind}`).join(", ")}`;
    }
    // Those that the eye looks for lie on top.
    for (const one of queue) if (differing.has(one.request) || one.expires) this.layer.append(this.marks.get(one.request));
  }

  showBars(slot, served) {
    const held = this.episode.held(this.policy, slot);
    for (const kind of KINDS) {
      const { meter, number } = this.segments[kind];
      let from = held[kind];
      const parts = from > 1e-4 ? [element("i", { class: "held", style: `left:0;width:${100 * from}%`, title: "taken by what still runs" })] : [];
      for (const one of served) {
        parts.push(element("i", { style: `left:${100 * from}%;width:${100 * one.shares[kind]}%`, title: `request ${one.request}: ${percent(one.shares[kind])}` }));
        from += one.shares[kind];
      }
      if (kind === "compute" && served.length) {
        const deadline = held.compute + (Math.min(...served.map((one) => one.slack)) * replay.slot_s) / replay.compute_whole_s;
        if (deadline < 1) parts.push(element("u", { style: `left:calc(${100 * deadline}% - 1px)`, title: "by here the batch must be done: its tightest deadline" }));
      }
      meter.replaceChildren(...parts);
      number.textContent = percent(Math.min(1, from), 0);
    }
  }

  showLeft(slot, queue) {
    const played = this.episode.played.get(this.policy);
    const lines = queue.filter((one) => one.expires).map(({ request }) => `✕ Request ${request} expires: ${whyExpired(played.cause[request])}.`);
    for (const request of this.episode.turnedAway(this.policy, slot)) lines.push(`✕ Request ${request} came, and left at once: ${whyTurnedAway(played, request)}.`);
    if (played.slots.infeasible[slot]) lines.push("! The batch asked for was infeasible; shown is what the node made of it.");
    if (replay.scheme_names.length > 1) lines.push(`Scheme: ${replay.scheme_names[played.slots.scheme[slot]]}`);
    this.left.replaceChildren(...(lines.length ? lines.map((line) => element("li", {}, line)) : [element("li", { class: "calm" }, "Nobody is lost in this slot.")]));
  }
}

/** What the marks mean. */
function queueLegend() {
  const entries = [["served", "served now"], ["", "waits"], ["served differs", "served here, left waiting by the other"], ["differs", "left waiting here, served by the other"],
    ["expires", "expires after this slot"]];
  return element("ul", { class: "legend" },
    entries.map(([classes, words]) => element("li", {}, shape("svg", { viewBox: "-13 -13 26 26", "aria-hidden": "true" }, markShape(classes)), words)),
    CONTINUOUS ? iterationsLegend() : element("li", {}, element("span", { class: "meter", style: "width:24px;display:inline-block" }, element("u", { style: "left:11px" })), "tightest deadline of the batch"),
    element("li", {}, shape("svg", { class: "strip", style: "height:22px;margin:0", viewBox: "-13 -13 26 26", "aria-hidden": "true" }, shape("path", { class: "gem", d: "M0-6 6 0 0 6-6 0z" })), "clear example"),
    element("li", {}, shape("svg", { class: "strip", style: "height:22px;margin:0", viewBox: "-13 -13 26 26", "aria-hidden": "true" }, [-5, 0, 5].map((x) => shape("line", { class: "tick", x1: x, x2: x, y1: -7, y2: 7 }))), "slots where they differ"));
}
