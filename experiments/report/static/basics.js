// What everything else needs: the data, elements, numbers as text, and a look for each policy.

const data = JSON.parse(document.getElementById("data").textContent);

const byId = (id) => document.getElementById(id);

/** Make an element. Children are elements or plain text: nothing from the data is ever read as HTML. */
function element(tag, attributes = {}, ...children) {
  return fill(document.createElement(tag), attributes, children);
}

/** The same for SVG. */
function shape(tag, attributes = {}, ...children) {
  return fill(document.createElementNS("http://www.w3.org/2000/svg", tag), attributes, children);
}

function fill(node, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
    else if (value !== null && value !== undefined && value !== false) node.setAttribute(name, value === true ? "" : value);
  }
  node.append(...children.flat().filter((child) => child !== null));
  return node;
}

const fixed = (value, decimals = 2) => value.toFixed(decimals).replace("-", "−");
const signed = (value, decimals = 2) => (value > 0 ? "+" : "") + fixed(value, decimals);
const percent = (share, decimals = 1) => `${fixed(100 * share, decimals)} %`;
const count = (number, word) => `${number} ${word}${number === 1 ? "" : "s"}`;

/** A duration in the unit that suits it. */
function duration(seconds) {
  if (seconds >= 1) return `${fixed(seconds, 2)} s`;
  return seconds >= 1e-3 ? `${fixed(1e3 * seconds, 2)} ms` : `${fixed(1e6 * seconds, 0)} µs`;
}

function interval(estimate, write = fixed) {
  return estimate.low === null ? "" : `[${write(estimate.low)}, ${write(estimate.high)}]`;
}

/** A name that fits: the middle of long ones (paths) is left out. */
function shortened(name, most) {
  if (name.length <= most) return name;
  const head = Math.ceil((most - 1) / 2);
  return `${name.slice(0, head)}…${name.slice(name.length - (most - 1 - head))}`;
}

/** A policy's name in a sentence. */
const said = (name) => shortened(name, 32);

// A policy keeps its colour, shape and dash in every figure. The symbols are Plotly's; the paths draw the same.
// Seven shapes and eight colours: only after 56 policies do both come again together.
const SHAPES = [
  ["circle", "M0-6a6 6 0 1 0 .01 0z"],
  ["square", "M-5.5-5.5h11v11h-11z"],
  ["diamond", "M0-7.5 7.5 0 0 7.5-7.5 0z"],
  ["triangle-up", "M0-7 7 5.5H-7z"],
  ["cross", "M-2.2-6.5h4.4v4.3h4.3v4.4H2.2v4.3h-4.4V2.2h-4.3v-4.4h4.3z"],
  ["triangle-down", "M0 7 7-5.5H-7z"],
  ["x", "M-6-3.5-3.5-6 0-2.5 3.5-6 6-3.5 2.5 0 6 3.5 3.5 6 0 2.5-3.5 6-6 3.5-2.5 0z"],
];
const DASHES = ["solid", "dash", "dot", "dashdot", "longdash", "longdashdot"];
const COLOURS = 8;

const policyNames = data.policies.map((policy) => policy.summary.policy);

function lookOf(name) {
  const place = policyNames.indexOf(name);
  const [symbol, path] = SHAPES[place % SHAPES.length];
  return { variable: `--c${place % COLOURS}`, symbol, path, dash: DASHES[place % DASHES.length] };
}

function swatch(name) {
  const look = lookOf(name);
  const path = shape("path", { d: look.path, fill: `var(${look.variable})` });
  return shape("svg", { class: "swatch", viewBox: "-8 -8 16 16", "aria-hidden": "true" }, path);
}
