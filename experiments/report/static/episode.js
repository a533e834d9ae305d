// A recorded episode, put together again: who waits in a slot at a policy, what they need, and what becomes of them.

const replay = data.replay;
const [WAITING, SERVED, EXPIRED, REJECTED, BLOCKED] = replay ? replay.outcomes.map((_, code) => code) : [];
const CONTINUOUS = Boolean(replay?.max_running);
// On a continuous node time is no sum: its iterations are drawn instead.
const KINDS = CONTINUOUS ? ["memory", "uplink", "downlink"] : ["compute", "memory", "uplink", "downlink"];

class Episode {
  constructor({ recorded, stories }) {
    this.number = recorded.episode;
    this.requests = recorded.requests;
    this.size = recorded.requests.arrival_s.length;
    this.played = new Map(recorded.played.map((one) => [one.policy, one]));
    this.slots = recorded.played[0].slots.scheme.length;
    this.stories = stories;
    const { latency_requirement_s: allowed } = this.requests;
    this.mostSlack = Math.max(1, ...allowed.map((seconds, request) => (seconds - replay.radio_s - this.alone(request)) / replay.slot_s));
    this.begun = new Map();
  }

  /** Seconds that a request takes alone on a continuous node, which nothing makes shorter; else 0. */
  alone(request) {
    return CONTINUOUS ? this.requests.compute_s[request] : 0;
  }

  story(first, second) {
    return this.stories.find((story) => story.first === first && story.second === second);
  }

  /** Whether the policy ever saw the request waiting. */
  joined(policy, request) {
    const { outcome, cause } = this.played.get(policy);
    return outcome[request] !== REJECTED && outcome[request] !== BLOCKED && cause[request] !== replay.hopeless;
  }

  waits(policy, request, slot) {
    if (!this.joined(policy, request) || this.requests.first_slot[request] > slot) return false;
    const { outcome, last_slot: last } = this.played.get(policy);
    return outcome[request] === WAITING || last[request] >= slot;
  }

  servedIn(policy, request, slot) {
    const { outcome, last_slot: last } = this.played.get(policy);
    return outcome[request] === SERVED && last[request] === slot;
  }

  expiresAfter(policy, request, slot) {
    const { outcome, last_slot: last } = this.played.get(policy);
    return outcome[request] === EXPIRED && last[request] === slot && this.joined(policy, request);
  }

  /** Slots of compute time (continuous: beyond what it takes alone) that the request can still afford; below 0 it is too late. */
  slack(policy, request, slot) {
    const { arrival_s: arrival, latency_requirement_s: allowed } = this.requests;
    const start = this.played.get(policy).slots.start_s[slot];
    const over = CONTINUOUS ? 0 : start; // admitted ones join what runs
    return (arrival[request] + allowed[request] - slot * replay.slot_s - replay.radio_s - over - this.alone(request)) / replay.slot_s;
  }

  /** Share of a whole slot that the request takes, by resource. */
  shares(policy, request, slot) {
    const { slots } = this.played.get(policy);
    const { compute_s: compute, kv_bytes: bytes, uplink_share: up, downlink_share: down } = this.requests;
    return {
      ...(CONTINUOUS ? {} : { compute: (compute[request] * slots.compute_scale[slot]) / replay.compute_whole_s }),
      memory: (bytes[request] * slots.kv_scale[slot]) / slots.capacity_bytes[slot],
      uplink: up[request] * slots.uplink_scale[slot],
      downlink: down[request] * slots.downlink_scale[slot],
    };
  }

  /** Who waits at the policy when it decides the slot, oldest first. */
  queue(policy, slot) {
    const waiting = [];
    for (let request = 0; request < this.size && this.requests.first_slot[request] <= slot; request++) {
      if (!this.waits(policy, request, slot)) continue;
      const shares = this.shares(policy, request, slot);
      waiting.push({
        request, shares, footprint: Math.max(...Object.values(shares)), slack: this.slack(policy, request, slot),
        served: this.servedIn(policy, request, slot), expires: this.expiresAfter(policy, request, slot),
      });
    }
    return waiting;
  }

  /** Share of each resource that is taken before the batch: what still runs, and what it holds. */
  held(policy, slot) {
    const { slots } = this.played.get(policy);
    return {
      compute: slots.start_s[slot] / replay.compute_whole_s,
      memory: 1 - slots.free_memory_bytes[slot] / slots.capacity_bytes[slot], uplink: 0, downlink: 0,
    };
  }

  /** How many iterations have begun before each slot. */
  begunBefore(policy) {
    if (!this.begun.has(policy)) {
      const totals = [0];
      for (const own of this.played.get(policy).slots.iterations_s) totals.push(totals.at(-1) + own.length);
      this.begun.set(policy, totals);
    }
    return this.begun.get(policy);
  }

  /** Those admitted up to a slot: the iterations of the whole episode that process the prompt, and make the last token. */
  admitted(policy, slot) {
    const { outcome, last_slot: last } = this.played.get(policy), begun = this.begunBefore(policy);
    const found = outcome.flatMap((code, request) => (code === SERVED && last[request] <= slot ? [{ request, slot: last[request], first: begun[last[request]] }] : []));
    for (const one of found) one.end = one.first + this.requests.output_tokens[one.request] - 1;
    return found.sort((a, b) => a.slot - b.slot || a.request - b.request);
  }

  /** Who runs as the slot opens, in order of admission: tokens made, and by how many seconds the last one may be later. */
  running(policy, slot) {
    const now = this.begunBefore(policy)[slot], margins = this.played.get(policy).slots.margins_s[slot];
    return this.admitted(policy, slot - 1).filter((one) => one.end >= now).map(({ request, first }, place) => ({ request, made: Math.max(0, now - first), margin: margins[place] }));
  }

  /** The iterations that begin in a slot: when, how long, with how many requests, whose prompts and last tokens. */
  iterations(policy, slot) {
    const { start_s: starts, iterations_s: lengths } = this.played.get(policy).slots;
    const before = this.begunBefore(policy)[slot], members = this.admitted(policy, slot);
    let start = starts[slot];
    return lengths[slot].map((length, place) => {
      const inside = members.filter((one) => one.first <= before + place && one.end >= before + place), here = start;
      start += length;
      const those = (key) => inside.filter((one) => one[key] === before + place).map((one) => one.request);
      return { start: here, length, members: inside.length, prompts: those("first"), last: those("end") };
    });
  }

  /** Requests that come in at the slot's start without ever joining the policy's queue. */
  turnedAway(policy, slot) {
    return this.requests.first_slot.flatMap((first, request) => (first === slot && !this.joined(policy, request) ? [request] : []));
  }

  /** How many requests the policy has served by the end of each slot. */
  servedSoFar(policy) {
    const { outcome, last_slot: last } = this.played.get(policy);
    const totals = new Array(this.slots).fill(0);
    outcome.forEach((code, request) => { if (code === SERVED) totals[last[request]] += 1; });
    for (let slot = 1; slot < this.slots; slot++) totals[slot] += totals[slot - 1];
    return totals;
  }
}
