// What differs between two policies in a slot, and why requests were lost, in words.

const CAUSE_WORDS = {
  compute_limit_s: "compute time", slack_s: "time before a deadline", memory_bytes: "memory",
  uplink_share: "uplink", downlink_share: "downlink", admissible: "accuracy", max_running: "room among the running",
};

function listed(words) {
  return words.length < 2 ? words.join("") : `${words.slice(0, -1).join(", ")} and ${words.at(-1)}`;
}

/** Why a request expired: what it would have exceeded beside the batch of its last slot. */
function whyExpired(cause) {
  if (cause === replay.hopeless) return "no slot could have served it, not even alone";
  const broken = Object.entries(replay.causes).flatMap(([name, bit]) => (cause & bit ? [CAUSE_WORDS[name]] : []));
  return broken.length ? `beside this batch there is not enough ${listed(broken)}` : "it would have fitted, and was left out";
}

function whyTurnedAway(played, request) {
  if (played.outcome[request] === REJECTED) return "the model is not accurate enough for it";
  return played.outcome[request] === BLOCKED ? "the queue is full" : "no slot can serve it, not even alone";
}

/** What becomes of a request that the policy leaves waiting in the slot. */
function laterFate(episode, policy, request, slot) {
  const { outcome, last_slot: last } = episode.played.get(policy);
  const slots = last[request] - slot;
  if (outcome[request] === SERVED) return `${said(policy)} serves it ${count(slots, "slot")} later.`;
  if (outcome[request] === WAITING) return `At ${said(policy)} it still waits when the episode ends.`;
  return slots === 0 ? `At ${said(policy)} it expires.` : `At ${said(policy)} it expires ${count(slots, "slot")} later.`;
}

const slackWords = (slack) => `${fixed(Math.max(0, slack), 1)} ${slack.toFixed(1) === "1.0" ? "slot" : "slots"} of slack`;

/**
 * What two policies do differently in a slot with requests that wait at both.
 * Returns a sentence each: { request, taker, leaver, expires, text }, those about lost requests first.
 */
function differencesIn(episode, first, second, slot) {
  const sentences = [];
  for (const [taker, leaver] of [[first, second], [second, first]]) {
    for (const { request } of episode.queue(taker, slot).filter((waiting) => waiting.served)) {
      if (!episode.waits(leaver, request, slot) || episode.servedIn(leaver, request, slot)) continue;
      const expires = episode.expiresAfter(leaver, request, slot);
      const slack = slackWords(episode.slack(leaver, request, slot));
      const text = expires
        ? `${said(taker)} serves request ${request}, which can't wait (${slack}); ${said(leaver)} does not, and it expires there.`
        : `${said(leaver)} leaves request ${request} (${slack}) for later; ${said(taker)} serves it now. ${laterFate(episode, leaver, request, slot)}`;
      sentences.push({ request, taker, leaver, expires, text });
    }
  }
  return sentences.sort((a, b) => Number(b.expires) - Number(a.expires));
}

/** One line on what the two have in common in a slot. */
function commonIn(episode, first, second, slot) {
  const [ours, theirs] = [first, second].map((policy) => episode.queue(policy, slot));
  if (!ours.length && !theirs.length) return "No request waits.";
  const others = new Set(theirs.map((one) => one.request));
  const shared = ours.filter((one) => others.has(one.request)).length;
  const batch = new Set(theirs.filter((one) => one.served).map((one) => one.request));
  const both = ours.filter((one) => one.served && batch.has(one.request)).length;
  const same = shared === ours.length && shared === theirs.length;
  const queues = same
    ? `Both have the same ${count(shared, "request")} to choose from`
    : `${count(shared, "request")} wait${shared === 1 ? "s" : ""} at both, ${ours.length - shared} only at ${said(first)}, ${theirs.length - shared} only at ${said(second)}, since they chose differently before`;
  return `${queues}. ${both ? `Both serve ${both} of the same now.` : "They serve none of the same now."}`;
}

/** The pair's episode, a sentence each: what is put off, for whom, and what comes of it. */
function storyLines(episode, first, second) {
  const [story, back] = [episode.story(first, second), episode.story(second, first)];
  const inSlots = (slots) => (slots ? `in ${count(slots, "slot")}` : "in none");
  const lines = [
    story.deferred
      ? `${said(first)} leaves ${count(story.deferred, "request")} waiting that ${said(second)} serves at once, and serves ${story.deferred_served} of them later.`
      : `${said(first)} never leaves a request waiting that ${said(second)} serves at once.`,
  ];
  if (story.exchange_slots || back.exchange_slots) {
    lines.push(`To serve a request in its last slot, one that can still wait is put off: by ${said(first)} ${inSlots(story.exchange_slots)}, by ${said(second)} ${inSlots(back.exchange_slots)}.`);
  }
  lines.push(`In the end ${said(first)} serves ${count(story.only_first, "request")} that ${said(second)} loses, and loses ${story.only_second} that ${said(second)} serves; ` +
    `${story.both} are served by both, ${story.neither} by neither.`);
  return lines;
}
