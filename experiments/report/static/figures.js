// The figures that stand still, drawn by Plotly. Each is a function that returns traces, layout and a description.

const WHY_WORDS = {
  time: "no compute time left",
  link: "no room on the radio link",
  memory: "no memory left",
  accuracy: "scheme not accurate enough",
  several: "several of these",
  left_out: "left out though it fitted",
  hopeless: "could not be served by anyone",
  blocked: "queue full",
  rejected: "model not accurate enough",
  places: "as many run as may",
  waiting: "still waiting at the end",
};
const WHY_LOOKS = [["--c1", ""], ["--c4", "/"], ["--c2", "x"], ["--c3", "-"], ["--c0", "\\"], ["--c5", "+"], ["--c6", "."], ["--c7", "|"],
  ["--muted", "-"], ["--c2", "+"]];
const RESOURCES = [["compute", "circle", "--c1"], ["memory", "square", "--c2"], ["uplink", "triangle-up", "--c0"], ["downlink", "triangle-down", "--c3"]];

/** Plotly reads a little HTML in texts; a policy's name is not to be read so. */
const plain = (text) => String(text).replaceAll("&", "&amp;").replaceAll("<", "&lt;").replaceAll(">", "&gt;");

const isNarrow = () => window.innerWidth < 720;

/** What a CSS variable is in the theme that shows: Plotly needs colours, not variables. */
function colour(variable) {
  const probe = element("span", { style: `color: var(${variable})` });
  document.body.append(probe);
  const value = getComputedStyle(probe).color;
  probe.remove();
  return value;
}

/** A row for every policy, best on top. Rows are numbers: two long names may look the same once shortened. */
function policyRows(names) {
  const most = isNarrow() ? 15 : 34;
  return {
    tickvals: names.map((_, row) => row),
    ticktext: names.map((name) => `${plain(shortened(name, most))}  `),
    range: [names.length - 0.4, -0.6],
    showgrid: false,
  };
}

const rowsHeight = (rows, extra = 70) => extra + rows * 38;

/** On a phone a legend takes a row for each line. */
const chartHeight = (entries) => 360 + (isNarrow() ? 20 * entries : 0);

function leaderboard() {
  const rows = data.policies.map((policy) => policy.summary);
  const low = Math.min(...rows.map((row) => row.throughput_rps.low ?? row.throughput_rps.mean));
  const high = Math.max(...rows.map((row) => row.throughput_rps.high ?? row.throughput_rps.mean));
  const room = (high - low || 1) * 0.12;
  return {
    id: "plot-leaderboard",
    about: rows.map((row) => `${row.policy}: ${fixed(row.throughput_rps.mean)} requests per second`).join("; "),
    height: rowsHeight(rows.length),
    traces: rows.map((row, place) => {
      const { mean, low: least, high: most } = row.throughput_rps;
      const look = lookOf(row.policy);
      return {
        type: "scatter", mode: "markers", showlegend: false, x: [mean], y: [place],
        error_x: { type: "data", array: [(most ?? mean) - mean], arrayminus: [mean - (least ?? mean)], color: colour(look.variable), thickness: 2.5, width: 0 },
        marker: { size: 13, symbol: look.symbol, color: colour(look.variable) },
        hoverinfo: "text", hovertext: plain(`${row.policy}: ${fixed(mean)} ${interval(row.throughput_rps)}`),
      };
    }),
    layout: {
      xaxis: { title: { text: "requests served per second" }, range: [Math.max(0, low - room), high + room], zeroline: false },
      yaxis: policyRows(rows.map((row) => row.policy)),
    },
  };
}

function differences() {
  const shown = data.policies.filter((policy) => policy.difference_rps.length);
  if (!shown.length) return null;
  const traces = shown.flatMap((policy, place) => {
    const look = lookOf(policy.summary.policy);
    const estimate = policy.summary.difference_rps;
    const tint = colour(look.variable);
    const text = plain(`${policy.summary.policy}: ${signed(estimate.mean)} ${interval(estimate, signed)}`);
    return [
      {
        type: "scatter", mode: "markers", showlegend: false, x: policy.difference_rps, y: policy.difference_rps.map(() => place + 0.22),
        marker: { size: 7, symbol: "line-ns-open", color: tint, line: { width: 1.6 } }, opacity: 0.75,
        hoverinfo: "text", hovertext: policy.difference_rps.map((value, episode) => `episode ${episode}: ${signed(value)}`),
      },
      {
        type: "scatter", mode: "markers", showlegend: false, x: [estimate.mean], y: [place - 0.08],
        error_x: { type: "data", array: [(estimate.high ?? estimate.mean) - estimate.mean], arrayminus: [estimate.mean - (estimate.low ?? estimate.mean)], color: tint, thickness: 2.5, width: 0 },
        marker: { size: 13, symbol: look.symbol, color: tint }, hoverinfo: "text", hovertext: text,
      },
    ];
  });
  return {
    id: "plot-differences",
    about: shown.map((policy) => `${policy.summary.policy}: ${signed(policy.summary.difference_rps.mean)}`).join("; "),
    height: rowsHeight(shown.length),
    traces,
    layout: {
      xaxis: { title: { text: "difference, requests/s" }, zeroline: true, zerolinewidth: 2, tickformat: "+" },
      yaxis: policyRows(shown.map((policy) => policy.summary.policy)),
    },
  };
}

function lines(series, x, y, text) {
  const marks = Math.max(1, Math.round(x.length / 8));
  return series.map((one, place) => {
    const look = lookOf(one.policy);
    return {
      type: "scatter", mode: "lines+markers", name: plain(shortened(one.policy, 28)), x, y: y(one),
      line: { color: colour(look.variable), width: 2.4, dash: look.dash },
      marker: { size: 8, symbol: look.symbol, maxdisplayed: marks > 1 ? 8 + place : 0 },
      hoverinfo: "text", hovertext: y(one).map((value, index) => plain(`${one.policy}: ${text(value, index)}`)),
    };
  });
}

function overTime() {
  if (!data.series.length) return null;
  const x = data.series[0].time_s;
  return {
    id: "plot-time", height: chartHeight(data.series.length),
    about: "Throughput over the episode, a line per policy",
    traces: lines(data.series, x, (one) => one.throughput_rps, (value, index) => `${fixed(value)} requests/s at ${fixed(x[index], 0)} s`),
    layout: { xaxis: { title: { text: "seconds" } }, yaxis: { title: { text: "requests served per second" } }, legend: BELOW },
  };
}

function leadOverTime() {
  const against = data.series.find((one) => one.policy === data.reference);
  if (!against || data.series.length < 2) return null;
  const slot = data.replay?.slot_s ?? 1;
  const x = against.served_total.map((_, index) => (index + 1) * slot);
  const others = data.series.filter((one) => one !== against);
  byId("heading-lead").textContent = `Requests served so far, more or less than ${against.policy}`;
  return {
    id: "plot-lead", height: chartHeight(others.length),
    about: others.map((one) => `${one.policy}: ${signed(one.served_total.at(-1) - against.served_total.at(-1), 0)} at the end`).join("; "),
    traces: lines(others, x, (one) => one.served_total.map((value, index) => value - against.served_total[index]),
      (value, index) => `${signed(value, 0)} after ${fixed(x[index], 0)} s`),
    layout: { xaxis: { title: { text: "seconds" } }, yaxis: { title: { text: "requests" }, zeroline: true, zerolinewidth: 2, tickformat: "+" }, legend: BELOW },
  };
}

function lost() {
  const named = data.policies.map((policy) => policy.summary.policy);
  let shares;
  if (data.series.length) {
    shares = (name, why) => {
      const own = data.series.find((one) => one.policy === name);
      return own ? own.whys[why] : 0;
    };
  } else {
    const fate = { left_out: "expired", blocked: "blocked", rejected: "rejected", waiting: "waiting" };
    shares = (name, why) => (fate[why] ? 100 * data.policies.find((policy) => policy.summary.policy === name).fates[fate[why]] : 0);
  }
  const recorded = data.series.length > 0;
  const names = recorded ? data.series.map((one) => one.policy) : named;
  const whys = recorded ? data.whys : ["left_out", "blocked", "rejected", "waiting"];
  const words = recorded ? WHY_WORDS : { ...WHY_WORDS, left_out: "expired" };
  const traces = whys.map((why, place) => {
    const values = names.map((name) => shares(name, why));
    const [tint, pattern] = WHY_LOOKS[place];
    return {
      type: "bar", orientation: "h", name: words[why], y: names.map((_, row) => row), x: values, width: 0.62,
      visible: values.some((value) => value > 0),
      marker: { color: colour(tint), line: { color: colour("--card"), width: 1 }, pattern: { shape: pattern, fillmode: "overlay", bgcolor: colour(tint), fgcolor: colour("--card"), size: 6, solidity: 0.28 } },
      hoverinfo: "text", hovertext: values.map((value, row) => plain(`${names[row]}: ${fixed(value, 1)}${recorded ? "" : " %"}, ${words[why]}`)),
    };
  });
  return {
    id: "plot-lost", height: rowsHeight(names.length, isNarrow() ? 210 : 140), traces,
    about: names.map((name) => `${name}: ${whys.map((why) => `${fixed(shares(name, why), 1)} ${words[why]}`).join(", ")}`).join("; "),
    layout: {
      barmode: "stack", xaxis: { title: { text: recorded ? "requests of a recorded episode" : "percent of the requests that arrived" } }, yaxis: policyRows(names),
      legend: { ...BELOW, traceorder: "normal" },
    },
  };
}

function resources() {
  const names = policyNames;
  const traces = RESOURCES.map(([name, symbol, tint], place) => {
    const values = data.policies.map((policy) => 100 * policy.utilisation[name]);
    return {
      type: "scatter", mode: "markers", name, x: values, y: values.map((_, row) => row + (place - 1.5) * 0.13),
      marker: { size: 12, symbol, color: colour(tint) },
      hoverinfo: "text", hovertext: values.map((value, row) => plain(`${names[row]}: ${name} ${fixed(value, 1)} %`)),
    };
  });
  return {
    id: "plot-resources", height: rowsHeight(names.length, 110), traces,
    about: data.policies.map((policy) => `${policy.summary.policy}: ${RESOURCES.map(([name]) => `${name} ${percent(policy.utilisation[name], 0)}`).join(", ")}`).join("; "),
    layout: { xaxis: { title: { text: "percent in use" }, range: [-2, 104] }, yaxis: policyRows(names), legend: BELOW },
  };
}

function latency() {
  if (!data.series.length) return null;
  const x = data.latency_shares.map((share) => 100 * share);
  return {
    id: "plot-latency", height: chartHeight(data.series.length),
    about: data.series.map((one) => `${one.policy}: ${percent(one.within.at(-1))} served within their requirement`).join("; "),
    traces: lines(data.series, x, (one) => one.within.map((share) => 100 * share), (value, index) => `${fixed(value, 1)} % within ${fixed(x[index], 0)} %`),
    layout: {
      xaxis: { title: { text: "latency in percent of the requirement" }, range: [0, 101] },
      yaxis: { title: { text: "percent of all requests" }, range: [0, 101] }, legend: BELOW,
    },
  };
}

function decision() {
  const rows = data.policies.map((policy) => policy.summary);
  const joined = rows.map((row, place) => ({
    type: "scatter", mode: "lines", showlegend: false, hoverinfo: "skip", x: [1e3 * row.decision_mean_s, 1e3 * row.decision_p99_s], y: [place, place],
    line: { color: colour("--line"), width: 4 },
  }));
  const marks = [["mean", "decision_mean_s", "circle", "--c1"], ["99th percentile", "decision_p99_s", "triangle-right", "--c0"]].map(([name, key, symbol, tint]) => ({
    type: "scatter", mode: "markers", name, x: rows.map((row) => 1e3 * row[key]), y: rows.map((_, place) => place), marker: { size: 12, symbol, color: colour(tint) },
    hoverinfo: "text", hovertext: rows.map((row) => plain(`${row.policy}: ${name} ${duration(row[key])}`)),
  }));
  return {
    id: "plot-decision", height: rowsHeight(rows.length, 110), traces: [...joined, ...marks],
    about: rows.map((row) => `${row.policy}: mean ${duration(row.decision_mean_s)}, 99th percentile ${duration(row.decision_p99_s)}`).join("; "),
    layout: { xaxis: { title: { text: "milliseconds, logarithmic" }, type: "log", tickvals: MILLISECONDS, ticktext: MILLISECONDS.map(String), minor: { ticks: "" } }, yaxis: policyRows(rows.map((row) => row.policy)), legend: BELOW },
  };
}

const BELOW = { orientation: "h", x: 0, y: 1.02, yanchor: "bottom", xanchor: "left" };
const MILLISECONDS = [-3, -2, -1, 0, 1, 2, 3].flatMap((power) => [1, 3].map((head) => Number(`${head}e${power}`)));
const FIGURES = [leaderboard, differences, overTime, leadOverTime, lost, resources, latency, decision];

/** Draw every figure in the colours of the theme that shows. */
function drawFigures() {
  for (const make of FIGURES) {
    const figure = make();
    if (figure) drawFigure(figure);
  }
}

function drawFigure({ id, about, height, traces, layout }) {
  const ink = colour("--ink"), muted = colour("--muted"), grid = colour("--grid");
  const axis = { gridcolor: grid, zerolinecolor: muted, tickfont: { color: ink }, title: { font: { color: muted, size: 13 }, standoff: 12 }, automargin: true, fixedrange: true, zeroline: false };
  const merged = (own = {}) => ({ ...axis, ...own, title: { ...axis.title, ...own.title } });
  const node = byId(id);
  node.setAttribute("role", "img");
  node.setAttribute("aria-label", about);
  Plotly.react(node, traces, {
    ...layout,
    xaxis: merged(layout.xaxis), yaxis: merged(layout.yaxis),
    height, margin: { l: isNarrow() ? 44 : 64, r: 12, t: 10, b: 48 }, paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)", dragmode: false,
    font: { family: getComputedStyle(document.body).fontFamily, size: isNarrow() ? 12 : 13, color: ink }, hovermode: "closest",
    hoverlabel: { bgcolor: colour("--raised"), bordercolor: colour("--line"), font: { color: ink } },
  }, { displayModeBar: false, responsive: true });
}
