// The slot replay: choose an episode and two policies, step or play through the slots, see what they do differently.

const SPEEDS = [["½ ×", 1600], ["1 ×", 800], ["2 ×", 400], ["4 ×", 200]];

class Replay {
  constructor(home) {
    this.episodes = replay.episodes.map((one) => new Episode(one));
    this.episode = this.episodes[0];
    [this.first, this.second] = replay.pair;
    this.slot = 0;
    this.timer = null;
    this.panels = [new Panel("first"), new Panel("second")];
    this.timeline = new Timeline((slot) => this.go(slot));
    this.build(home);
    this.begin();
    this.pause();
    this.go(this.story.exchanges[0]?.slot ?? this.story.differing_slots[0] ?? 0);
    new ResizeObserver(() => this.resized()).observe(this.player);
  }

  build(home) {
    const button = (id, label, words, action, short = label) => element("button", { type: "button", id, "aria-label": words, title: words, onclick: action },
      element("span", { class: "long" }, label), element("span", { class: "brief" }, short));
    this.choices = element("div", { class: "choose" });
    this.storyText = element("p", { class: "story", id: "story" });
    this.slider = element("input", { type: "range", id: "slot", min: 0, step: 1, "aria-label": "Slot", oninput: () => this.go(Number(this.slider.value)) });
    this.playButton = element("button", { type: "button", id: "play", class: "main", onclick: () => this.toggle() });
    this.clock = element("span", { class: "clock", id: "clock" });
    this.speed = element("select", { id: "speed", "aria-label": "Speed", onchange: () => this.timer !== null && this.play() },
      SPEEDS.map(([label, delay], index) => element("option", { value: delay, selected: index === 1 }, label)));
    this.exampleButton = button("example", "◆ Clear example", "Next clear example: a request is left waiting to make room for one that can’t wait", () => this.nextExample(), "◆");
    this.words = element("div", { class: "words", id: "words", "aria-live": "polite" });
    this.tables = element("div", { class: "tables" });
    this.details = element("details", { id: "queue-table", ontoggle: () => this.showTables() }, element("summary", {}, "Both queues as tables"), this.tables);
    this.player = element("div", { class: "player", id: "player", tabindex: "0", role: "group", "aria-label": "Slot replay; arrow keys step, space plays", onkeydown: (event) => this.pressed(event) },
      this.storyText, this.timeline.svg, this.slider,
      element("div", { class: "controls" },
        this.playButton,
        button("back", "‹ Step", "One slot back", () => this.step(-1), "‹"),
        button("forward", "Step ›", "One slot forward", () => this.step(1), "›"),
        button("previous-difference", "« Difference", "Previous slot where they differ", () => this.nextDifference(-1), "«"),
        button("next-difference", "Next difference »", "Next slot where they differ", () => this.nextDifference(1), "Differ »"),
        this.exampleButton, this.speed, element("span", { class: "spread" }), this.clock),
      this.words,
      element("div", { class: "pair" }, this.panels.map((panel) => panel.root)),
      queueLegend(),
      element("p", { class: "keys" }, element("kbd", {}, "←"), " ", element("kbd", {}, "→"), " step  ", element("kbd", {}, "space"), " play  ", element("kbd", {}, "n"), " ", element("kbd", {}, "p"),
        " next and previous difference  ", element("kbd", {}, "e"), " next clear example  ", element("kbd", {}, "Home"), " ", element("kbd", {}, "End")),
      this.details);
    home.append(this.choices, this.player);
  }

  /** Offer what can be chosen, and draw what stays the same from slot to slot. */
  begin() {
    const choose = (id, label, options, chosen, action) => element("label", { for: id }, label,
      element("select", { id, onchange: (event) => { action(event.target.value); this.begin(); this.go(Math.min(this.slot, this.episode.slots - 1)); byId(id).focus(); } },
        options.map(([value, words]) => element("option", { value, selected: value === chosen }, words))));
    const names = policyNames.filter((name) => this.episode.played.has(name));
    if (!names.includes(this.first) || !names.includes(this.second)) [this.first, this.second] = names;
    const policies = names.map((name) => [name, shortened(name, 40)]);
    this.choices.replaceChildren(
      choose("first", "Left", policies, this.first, (name) => { if (name === this.second) this.second = this.first; this.first = name; }),
      choose("second", "Right", policies, this.second, (name) => { if (name === this.first) this.first = this.second; this.second = name; }),
      choose("episode", "Episode", this.episodes.map((one, index) => [String(index), String(one.number)]), String(this.episodes.indexOf(this.episode)), (index) => { this.episode = this.episodes[Number(index)]; }));
    this.story = this.episode.story(this.first, this.second);
    this.storyText.textContent = storyLines(this.episode, this.first, this.second).slice(1).join(" ");
    this.slider.max = this.episode.slots - 1;
    this.exampleButton.disabled = !this.story.exchanges.length;
    this.draw();
  }

  draw() {
    this.timeline.begin(this.episode, this.first, this.second, this.story);
    this.panels[0].begin(this.episode, this.first);
    this.panels[1].begin(this.episode, this.second);
    this.drawnWidth = this.player.clientWidth;
  }

  resized() {
    if (this.player.clientWidth === this.drawnWidth) return;
    this.draw();
    this.go(this.slot);
  }

  /** Show a slot; marks glide there if it is the next one or the one before. */
  go(slot) {
    const next = Math.min(this.episode.slots - 1, Math.max(0, slot));
    const smooth = Math.abs(next - this.slot) === 1;
    this.slot = next;
    const sentences = differencesIn(this.episode, this.first, this.second, next);
    const differing = new Set(sentences.map((sentence) => sentence.request));
    this.slider.value = next;
    this.slider.setAttribute("aria-valuetext", `slot ${next}`);
    this.clock.replaceChildren(`Slot ${next} `, element("small", {}, `of ${this.episode.slots - 1} · ${fixed(next * replay.slot_s, 1)} s`));
    this.timeline.show(next);
    for (const panel of this.panels) panel.show(next, differing, smooth);
    this.showWords(sentences);
    this.showTables();
  }

  showWords(sentences) {
    const most = 6;
    const lines = sentences.slice(0, most).map((sentence) => {
      const icon = shape("svg", { viewBox: "-13 -13 26 26", "aria-hidden": "true", style: `--own: var(${lookOf(sentence.taker).variable})` }, markShape(sentence.expires ? "expires" : "served differs"));
      icon.querySelector("text").remove();
      return element("li", {}, icon, sentence.text);
    });
    const rest = sentences.length > most ? `And ${sentences.length - most} more. ` : "";
    this.words.setAttribute("aria-live", this.timer === null ? "polite" : "off");
    this.words.replaceChildren(
      element("h3", {}, sentences.length ? "What differs in this slot" : "No difference in this slot"),
      element("ul", {}, lines),
      element("p", { class: "rest" }, rest + commonIn(this.episode, this.first, this.second, this.slot)));
  }

  showTables() {
    if (!this.details.open) return;
    this.tables.replaceChildren(...[this.first, this.second].map((policy) => {
      const rows = this.episode.queue(policy, this.slot).sort((a, b) => a.slack - b.slack).map((one) => element("tr", {},
        element("th", { scope: "row" }, String(one.request)), element("td", {}, fixed(one.slack)), KINDS.map((kind) => element("td", {}, percent(one.shares[kind]))),
        element("td", {}, one.served ? "served" : one.expires ? "expires" : "waits")));
      return element("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": `Queue of ${policy}` }, element("table", {},
        element("caption", { class: "hidden" }, `Queue of ${policy}`),
        element("thead", {}, element("tr", {}, [shortened(policy, 20), "slack", ...KINDS, ""].map((word) => element("th", { scope: "col" }, word)))), element("tbody", {}, rows)));
    }));
  }

  step(slots) {
    this.pause();
    this.go(this.slot + slots);
  }

  nextDifference(direction) {
    this.pause();
    const slots = this.story.differing_slots;
    const found = direction > 0 ? slots.find((slot) => slot > this.slot) : slots.findLast((slot) => slot < this.slot);
    if (found !== undefined) this.go(found);
  }

  nextExample() {
    this.pause();
    const slots = this.story.exchanges.map((exchange) => exchange.slot);
    if (slots.length) this.go(slots[(slots.indexOf(this.slot) + 1) % slots.length]);
  }

  play() {
    this.pause();
    if (this.slot === this.episode.slots - 1) this.go(0);
    this.timer = setInterval(() => (this.slot < this.episode.slots - 1 ? this.go(this.slot + 1) : this.pause()), Number(this.speed.value));
    this.labelPlay("❚❚", "Pause");
  }

  pause() {
    clearInterval(this.timer);
    this.timer = null;
    this.labelPlay("▶", "Play");
  }

  labelPlay(sign, word) {
    this.playButton.replaceChildren(sign, element("span", { class: "long" }, ` ${word}`));
    this.playButton.setAttribute("aria-label", word);
  }

  toggle() {
    if (this.timer === null) this.play();
    else this.pause();
  }

  pressed(event) {
    const own = event.target;
    if (own.tagName === "SELECT" || event.ctrlKey || event.metaKey || event.altKey) return;
    const presses = { " ": own.matches("button, summary") ? null : () => this.toggle(), n: () => this.nextDifference(1), p: () => this.nextDifference(-1), e: () => this.nextExample() };
    if (own.type !== "range" && !own.matches(".scroll")) {
      Object.assign(presses, { ArrowRight: () => this.step(1), ArrowLeft: () => this.step(-1), Home: () => this.step(-this.episode.slots), End: () => this.step(this.episode.slots) });
    }
    const action = presses[event.key];
    if (!action) return;
    event.preventDefault();
    action();
  }
}
