// A continuous node in a slot: the iterations that begin in it, and what runs, with tokens made and time to spare.

class RunningView {
  constructor() {
    this.head = element("p", { class: "tally" });
    this.svg = shape("svg", { class: "iterations", role: "img" });
    this.body = element("tbody", {});
    this.list = element("div", { class: "scroll runs", tabindex: "0", role: "region", "aria-label": "Running requests" },
      element("table", {}, element("thead", {}, element("tr", {}, ["request", "tokens made", "", "to spare"].map((word) => element("th", { scope: "col" }, word)))), this.body));
    this.root = element("div", { class: "running" }, this.head, this.svg, this.list);
  }

  show(episode, policy, slot) {
    const iterations = episode.iterations(policy, slot), running = episode.running(policy, slot);
    const spent = iterations.reduce((sum, one) => sum + one.length, 0);
    this.head.replaceChildren("runs ", element("b", {}, String(running.length)), ` of ${replay.max_running} places · `, element("b", {}, String(iterations.length)),
      iterations.length ? ` iterations, ${duration(spent / iterations.length)} each` : " iterations begin");
    this.draw(episode.played.get(policy).slots.start_s[slot], iterations);
    this.svg.setAttribute("aria-label", `${policy}, slot ${slot}: ${count(iterations.length, "iteration")}, ${duration(spent)} in all; ${count(running.length, "request")} run`);
    const joins = episode.queue(policy, slot).filter((one) => one.served).map(({ request }) => ({ request, made: 0, margin: null }));
    this.body.replaceChildren(...[...running, ...joins].map((one) => this.row(episode, one)));
  }

  row(episode, { request, made, margin }) {
    const tokens = episode.requests.output_tokens[request];
    return element("tr", { "data-request": request }, element("th", { scope: "row" }, String(request)),
      element("td", {}, element("div", { class: "meter" }, element("i", { style: `left:0;width:${(100 * made) / tokens}%` }))),
      element("td", {}, `${made} / ${tokens}`), element("td", {}, margin === null ? "joins" : `${fixed(margin)} s`));
  }

  /** Iterations as blocks: as wide as they last, as high as many requests are in them; those with prompts filled. */
  draw(overrun, iterations) {
    const width = Math.max(220, this.svg.getBoundingClientRect().width), top = 14, foot = 62, edge = 1;
    const until = Math.max(replay.slot_s, iterations.length ? iterations.at(-1).start + iterations.at(-1).length : 0, overrun);
    const x = (seconds) => edge + (seconds / until) * (width - 2 * edge);
    const most = Math.max(4, ...iterations.map((one) => one.members));
    const blocks = iterations.map((one, index) => {
      const height = (one.members / most) * (foot - top);
      const prompts = one.prompts.length ? `, prompts of ${listed(one.prompts.map(String))} processed` : "";
      const last = one.last.length ? `, last token of ${listed(one.last.map(String))}` : "";
      return shape("rect", { class: one.prompts.length ? "block prompts" : "block", x: x(one.start), y: foot - height, width: Math.max(0.5, x(one.start + one.length) - x(one.start)), height },
        shape("title", {}, `Iteration ${index + 1}: begins at ${duration(one.start)}, takes ${duration(one.length)}, ${count(one.members, "request")}${prompts}${last}`));
    });
    this.svg.setAttribute("viewBox", `0 0 ${width} 78`);
    this.svg.replaceChildren(
      shape("text", { x: 0, y: 10 }, `↑ requests in an iteration, up to ${most}`),
      overrun > 1e-6 ? shape("rect", { class: "overrun", x: x(0), y: top, width: x(overrun) - x(0), height: foot - top }, shape("title", {}, `${duration(overrun)} of the slot before’s last iteration`)) : "",
      ...blocks,
      shape("line", { class: "axis", x1: 0, x2: width, y1: foot, y2: foot }),
      shape("line", { class: "end", x1: x(replay.slot_s), x2: x(replay.slot_s), y1: top - 4, y2: foot + 4 }),
      shape("text", { x: 0, y: 75 }, "0"),
      shape("text", { x: Math.min(width, x(replay.slot_s)), y: 75, "text-anchor": "end" }, `slot’s end, ${fixed(replay.slot_s, 2)} s`));
  }
}

/** What the blocks mean. */
function iterationsLegend() {
  return [["block", "iteration"], ["block prompts", "iteration that processes prompts"], ["overrun", "iteration of the slot before"]].map(([classes, words]) =>
    element("li", {}, shape("svg", { class: "iterations key", viewBox: "0 0 24 22", "aria-hidden": "true" }, shape("rect", { class: classes, x: 6, y: 3, width: 12, height: 16 })), words));
}
