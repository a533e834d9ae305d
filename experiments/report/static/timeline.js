// The whole episode at a glance, above the slider: who leads, and where the two policies differ.

const THUMB = 16; // a slider's ends lie half a thumb inside its width

class Timeline {
  constructor(seek) {
    this.svg = shape("svg", { class: "strip", role: "img", onclick: (event) => seek(this.slotAt(event)) });
  }

  begin(episode, first, second, story) {
    const [ours, theirs] = [first, second].map((policy) => episode.servedSoFar(policy));
    const lead = ours.map((total, slot) => total - theirs[slot]);
    const width = Math.max(200, this.svg.getBoundingClientRect().width), top = 18, foot = 58, height = 74;
    this.slots = episode.slots;
    this.width = width;
    this.x = (slot) => THUMB / 2 + (slot / Math.max(1, episode.slots - 1)) * (width - THUMB);
    const high = Math.max(1, ...lead), low = Math.min(0, ...lead);
    const y = (value) => foot - ((value - low) / (high - low)) * (foot - top);
    const points = lead.map((value, slot) => `${this.x(slot).toFixed(1)} ${y(value).toFixed(1)}`).join("L");
    this.here = shape("line", { class: "here", y1: 12, y2: height });
    this.svg.setAttribute("viewBox", `0 0 ${width} ${height}`);
    this.svg.setAttribute("aria-label", `At the end ${first} has served ${signed(lead.at(-1), 0)} requests compared with ${second}; they differ in ${story.differing_slots.length} slots`);
    this.svg.replaceChildren(
      shape("text", { x: 2, y: 10 }, `lead of ${shortened(first, 28)}`),
      shape("text", { x: width - 2, y: 10, "text-anchor": "end" }, `${signed(lead.at(-1), 0)} requests`),
      shape("path", { class: "under", d: `M${this.x(0)} ${y(0)}L${points}L${this.x(lead.length - 1)} ${y(0)}z` }),
      shape("line", { class: "zero", x1: this.x(0), x2: this.x(lead.length - 1), y1: y(0), y2: y(0) }),
      shape("path", { class: "curve", d: `M${points}` }),
      shape("g", {}, story.differing_slots.map((slot) => shape("line", { class: "tick", x1: this.x(slot), x2: this.x(slot), y1: foot + 5, y2: height - 2 }))),
      shape("g", {}, story.exchanges.map(({ slot }) => shape("path", { class: "gem", d: "M0-5 5 0 0 5-5 0z", transform: `translate(${this.x(slot)} ${foot + 9})` }))),
      this.here);
  }

  show(slot) {
    this.here.setAttribute("x1", this.x(slot));
    this.here.setAttribute("x2", this.x(slot));
  }

  slotAt(event) {
    const box = this.svg.getBoundingClientRect();
    const share = ((event.clientX - box.left) / box.width * this.width - THUMB / 2) / (this.width - THUMB);
    return Math.round(Math.min(1, Math.max(0, share)) * (this.slots - 1));
  }
}
