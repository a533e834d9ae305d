// Fills the page: headline, table, theme, and the replay where episodes were recorded.

function headline() {
  const [best] = data.policies.map((policy) => policy.summary);
  const against = data.policies.map((policy) => policy.summary).find((row) => row.policy === data.reference);
  const tile = (number, words) => element("div", { class: "tile" }, element("b", {}, number), element("span", {}, words));
  const tiles = [tile(fixed(best.throughput_rps.mean), `requests a second served by ${said(best.policy)}, the most of all`)];
  if (against && best.difference_rps) {
    const share = best.difference_rps.mean / against.throughput_rps.mean;
    tiles.push(tile(signed(100 * share, 1) + " %", `compared with ${said(against.policy)}: ${signed(best.difference_rps.mean)} ${interval(best.difference_rps, signed)} requests a second`));
  }
  tiles.push(tile(percent(best.served_ratio), `of all requests are served by ${said(best.policy)}${against && against !== best ? `, ${percent(against.served_ratio)} by ${said(against.policy)}` : ""}`));
  tiles.push(tile(duration(best.decision_mean_s), `to decide a slot, ${said(best.policy)}, mean`));
  return element("div", { class: "tiles" }, tiles);
}

/** What the best policy does differently, with an example to look at. */
function why(player) {
  const { episode, first, second, story } = player;
  const lines = storyLines(episode, first, second).map((line) => element("li", {}, line));
  const [example] = story.exchanges;
  if (example) {
    const see = () => {
      player.go(example.slot);
      byId("replay").scrollIntoView();
      player.player.focus({ preventScroll: true });
    };
    const words = `For instance slot ${example.slot}: ${said(second)} serves request ${example.deferred} at once and loses request ${example.rescued}; ` +
      `${said(first)} serves request ${example.rescued} first and, ${count(example.served_slot - example.slot, "slot")} later, request ${example.deferred} too. `;
    lines.push(element("li", {}, words, element("button", { type: "button", class: "link", id: "see", onclick: see }, "See it happen")));
  }
  return element("div", { class: "why" }, element("h2", {}, `${said(first)} and ${said(second)} in episode ${episode.number}`), element("ul", {}, lines));
}

// Statistics of docs/protocol.md that not every comparison has.
const MORE = [["throughput_iqm_rps", "interquartile mean"], ["improvement_probability", "P(improvement)"], ["gap_closed", "gap closed"], ["bound_share", "of the bound"]];

// Measures of service, of docs/protocol.md too.
const SERVICE = [["mean_ttft_s", "TTFT", duration], ["mean_tpot_s", "TPOT", duration], ["goodput_tokens_per_s", "tokens/s", (value) => fixed(value, 0)], ["jain_index", "Jain", (value) => fixed(value, 3)], ["served_by_fifth", "served by fifth, %", (shares) => shares.map((share) => share === null ? "–" : fixed(100 * share, 0)).join(" ")]];

function leaderboardTable() {
  const service = SERVICE.filter(([key]) => data.policies.some(({ summary }) => summary[key] !== null));
  const more = MORE.filter(([key]) => data.policies.some(({ summary }) => summary[key]));
  const extra = (estimate) => element("td", {}, ...(estimate ? [fixed(estimate.mean), " ", element("small", {}, interval(estimate))] : ["–"]));
  const heads = ["policy", "requests/s", `difference${data.reference ? ` to ${data.reference}` : ""}`, "served", "expired", "latency", "decision", ...service.map(([, words]) => words), ...more.map(([, words]) => words)];
  const rows = data.policies.map(({ summary }) => element("tr", {},
    element("th", { scope: "row", title: summary.policy }, swatch(summary.policy), shortened(summary.policy, 40)),
    element("td", {}, fixed(summary.throughput_rps.mean), " ", element("small", {}, interval(summary.throughput_rps))),
    summary.difference_rps ? element("td", {}, signed(summary.difference_rps.mean), " ", element("small", {}, interval(summary.difference_rps, signed))) : element("td", {}, "–"),
    element("td", {}, percent(summary.served_ratio)), element("td", {}, percent(summary.expired_ratio)),
    element("td", {}, summary.mean_latency_s === null ? "–" : duration(summary.mean_latency_s)), element("td", {}, duration(summary.decision_mean_s)),
    service.map(([key, , write]) => element("td", {}, summary[key] === null ? "–" : write(summary[key]))), more.map(([key]) => extra(summary[key]))));
  return element("table", {}, element("thead", {}, element("tr", {}, heads.map((head) => element("th", { scope: "col" }, head)))), element("tbody", {}, rows));
}

function about() {
  const { command, scenario_checksum: checksum, versions, settings } = data.about;
  return [
    element("p", { class: "lead" }, "All policies met the very same requests. The command:"),
    element("pre", { tabindex: "0" }, command),
    element("p", { class: "lead" }, `Scenario ${settings.name}, checksum ${checksum}. ${Object.entries(versions).map(([name, version]) => `${name} ${version}`).join(", ")}.`),
    element("details", {}, element("summary", {}, "All settings of the scenario"), element("pre", { tabindex: "0" }, JSON.stringify(settings, null, 1))),
  ];
}

/** Say in a section's introduction what it shows, or take out a section that has nothing to show. */
function introduce() {
  const recorded = `recorded ${data.recorded_episodes === 1 ? "episode" : "episodes"}`;
  const texts = {
    differences: data.reference && data.policies.length > 1 ? `Each policy less ${said(data.reference)}, in the same episode. Strokes are episodes, marks their mean, lines its 95 % bootstrap interval. Right of the line is better.` : null,
    time: data.series.length ? `Mean over ${fixed(data.window_s, 0)} seconds around each moment, ${data.recorded_episodes === 1 ? "in the" : `over ${data.recorded_episodes}`} ${recorded}.` : null,
    lost: data.series.length
      ? `Mean of the ${recorded}. A request's reason is what it would have exceeded beside the batch of the last slot that it waited in; the time is the slot's, or that before a deadline.`
      : "Share of all requests that arrived. Reasons are known only for recorded episodes.",
    latency: data.series.length ? `Share of all requests served within a part of the latency that they allow, in the ${recorded}. The right end is the share served in time.` : null,
  };
  for (const [id, text] of Object.entries(texts)) {
    if (text === null) byId(id).remove();
    else byId(`lead-${id}`).textContent = text;
  }
  if (!data.series.some((one) => one.policy === data.reference) || data.series.length < 2) byId("plot-lead")?.remove();
}

function setTheme(theme) {
  document.documentElement.dataset.theme = theme;
  const other = theme === "dark" ? "light" : "dark";
  byId("theme").replaceChildren(other === "dark" ? "☾ Dark" : "☀ Light");
  byId("theme").setAttribute("aria-label", `Change to ${other} colours`);
  drawFigures();
}

function begin() {
  byId("title").textContent = data.title;
  byId("facts").textContent = data.facts.join(" · ");
  byId("headline").append(headline());
  byId("notes").append(...data.notes.map((note) => element("p", { class: "note" }, note)));
  byId("table-leaderboard").append(leaderboardTable());
  byId("about-here").append(...about());
  introduce();
  if (CONTINUOUS) byId("replay").querySelector(".lead").textContent = "Two policies, the very same requests. Each mark is a waiting request: the further left, the less it can wait; the higher, " +
    "the more of the KV cache or a link it takes. Filled marks are admitted, and join what runs. Below: the slot’s iterations, and what runs as it opens.";
  if (replay) byId("headline").append(why(new Replay(byId("replay-here"))));
  else byId("replay").remove();
  byId("sections").append(...[...document.querySelectorAll("section[data-nav]")].map((section) => element("a", { href: `#${section.id}` }, section.dataset.nav)));
  const dark = window.matchMedia("(prefers-color-scheme: dark)");
  setTheme(dark.matches ? "dark" : "light");
  dark.addEventListener("change", () => setTheme(dark.matches ? "dark" : "light"));
  byId("theme").addEventListener("click", () => setTheme(document.documentElement.dataset.theme === "dark" ? "light" : "dark"));
  let narrow = isNarrow();
  window.addEventListener("resize", () => {
    if (narrow !== isNarrow()) drawFigures();
    narrow = isNarrow();
  });
}

begin();
