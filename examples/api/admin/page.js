"use strict";

// All text of events comes in as text, never as markup. The API key lives in this variable and nowhere else.
let key = "";

const SHOWN = 100;
const POLL = 2000;
const AGAIN = 3000;

const byId = (id) => document.getElementById(id);
const number = new Intl.NumberFormat("en");
const clock = new Intl.DateTimeFormat("en-GB", { timeStyle: "medium" });

function cell(row, text, className) {
  const cell = row.insertCell();
  cell.textContent = text ?? "";
  if (className) cell.className = className;
  return cell;
}

function show(id, visible) {
  byId(id).hidden = !visible;
}

function state(name, text) {
  byId("state").dataset.state = name;
  byId("state").textContent = text;
}

function problem(text) {
  byId("problem").textContent = text ?? "";
  show("problem", Boolean(text));
}

/** Asks the service; a refusal for want of a key shows the field for it. */
async function ask(path, options = {}) {
  const headers = { ...options.headers };
  if (key) headers.authorization = `Bearer ${key}`;
  const response = await fetch(path, { ...options, headers, cache: "no-store", credentials: "omit" });
  if (response.status === 401 && byId("key").hidden) {
    show("key", true);
    byId("key-field").focus();
  }
  if (!response.ok) {
    const body = await response.json().catch(() => ({}));
    const said = body.error ?? body.detail ?? body.title;
    throw Object.assign(new Error(said ?? `status ${response.status}`), { status: response.status });
  }
  return response;
}

function refusedBy(policy) {
  return policy.denied + policy.redirected + policy.unkeyed;
}

function drawPolicies(policies) {
  const body = byId("policies");
  body.replaceChildren();
  for (const policy of policies) {
    const row = body.insertRow();
    const refused = refusedBy(policy);
    const all = policy.allowed + policy.would_deny + refused;
    const name = cell(row, policy.policy === policy.layer ? policy.layer : `${policy.layer} · ${policy.policy}`);
    if (!policy.enforced) {
      const tag = document.createElement("span");
      tag.className = "tag";
      tag.textContent = "dry run";
      name.append(tag);
    }
    cell(row, number.format(policy.allowed), "number");
    cell(row, number.format(refused), "number");
    cell(row, number.format(policy.would_deny), "number");
    const share = document.createElement("meter");
    share.max = Math.max(all, 1);
    share.value = refused;
    share.title = all === 0 ? "no requests" : `${((100 * refused) / all).toFixed(1)} % of ${number.format(all)}`;
    cell(row, "").append(share);
  }
  const last = policies.at(-1);
  byId("admitted").textContent = last ? number.format(last.allowed + last.would_deny) : "–";
  byId("refused").textContent = number.format(policies.reduce((sum, it) => sum + refusedBy(it), 0));
  byId("observed").textContent = number.format(policies.reduce((sum, it) => sum + it.would_deny, 0));
}

function remaining(millis) {
  const seconds = Math.max(0, Math.ceil(millis / 1000));
  if (seconds < 60) return `${seconds} s`;
  if (seconds < 3600) return `${Math.floor(seconds / 60)} min ${seconds % 60} s`;
  if (seconds < 86400) return `${Math.floor(seconds / 3600)} h ${Math.floor((seconds % 3600) / 60)} min`;
  return `${Math.floor(seconds / 86400)} d ${Math.floor((seconds % 86400) / 3600)} h`;
}

/** A row per ban, kept from one look to the next so that no button moves away under a finger. */
const banRows = new Map();

function banRow(ban) {
  const row = document.createElement("tr");
  cell(row, ban.client.replace(/\/32$/, ""), "code");
  cell(row, ban.rule);
  cell(row, "", "number");
  cell(row, number.format(ban.count), "number");
  const button = document.createElement("button");
  button.textContent = "Unban";
  button.setAttribute("aria-label", `Unban ${ban.client}`);
  button.addEventListener("click", () => unban(ban.client, button));
  cell(row, "", "number").append(button);
  return row;
}

function drawBans(jail, now) {
  const bans = jail?.bans ?? [];
  const wanted = new Map(bans.map((ban) => [`${ban.client} ${ban.start}`, ban]));
  for (const [id, row] of banRows) {
    if (!wanted.has(id)) {
      row.remove();
      banRows.delete(id);
    }
  }
  let after = null;
  for (const [id, ban] of wanted) {
    let row = banRows.get(id);
    if (!row) {
      row = banRow(ban);
      banRows.set(id, row);
      // The latest ban is at the top.
      if (after) after.after(row);
      else byId("bans").prepend(row);
    }
    row.cells[2].textContent = remaining(ban.end - now);
    after = row;
  }
  const active = jail?.active ?? 0;
  byId("active").textContent = number.format(active);
  byId("no-bans").textContent = jail ? "Nobody is banned." : "This service bans nobody.";
  show("no-bans", bans.length === 0);
  byId("more-bans").textContent = `The latest ${number.format(bans.length)} of ${number.format(active)}.`;
  show("more-bans", bans.length < active);
}

async function unban(client, button) {
  button.disabled = true;
  try {
    await ask(`/admin/bans/${encodeURIComponent(client)}`, { method: "DELETE" });
    problem();
  } catch (error) {
    // It may have ended by itself meanwhile, which is as well.
    if (error.status !== 404) problem(`${client} is still banned: ${error.message}`);
  }
  button.disabled = false;
  await look();
}

/** Looks once at counts and bans. */
async function look() {
  try {
    const data = await (await ask("/admin/security/data")).json();
    drawPolicies(data.policies);
    drawBans(data.jail, data.now);
    show("key", false);
    document.querySelector("main").hidden = false;
    return true;
  } catch (error) {
    state("lost", error.status === 401 ? "a key is needed" : `no data: ${error.message}`);
    return false;
  }
}

function request(event) {
  return [event.method, event.path].filter(Boolean).join(" ") + (event.status ? ` → ${event.status}` : "");
}

function drawEvent(event) {
  const body = byId("events");
  const row = body.insertRow(0);
  cell(row, clock.format(event.time), "time").title = new Date(event.time).toISOString();
  const what = cell(row, event.action, "level");
  what.dataset.level = event.level;
  if (event.suppressed) what.append(` of ${event.suppressed} × ${number.format(event.count ?? 0)}`);
  if (!event.enforced) {
    const tag = document.createElement("span");
    tag.className = "tag";
    tag.textContent = "dry run";
    what.append(tag);
  }
  cell(row, event.client ?? "–", "code");
  cell(row, request(event), "code");
  cell(row, event.policy ?? event.layer);
  cell(row, event.reason, "faint");
  while (SHOWN < body.rows.length) body.deleteRow(-1);
  show("no-events", false);
}

/** Which event was shown last, so that none is shown twice. */
let seen = null;

/** Reads events until the stream ends. `EventSource` cannot send a key, so the stream is read by hand. */
async function read() {
  const headers = seen === null ? {} : { "last-event-id": seen };
  const response = await ask("/admin/security/events", { headers });
  state("live", "live");
  show("no-events", byId("events").rows.length === 0);
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  for (;;) {
    const { done, value } = await reader.read();
    if (done) return;
    const blocks = (rest + value).split("\n\n");
    rest = blocks.pop();
    for (const block of blocks) {
      const field = (name) => block.split("\n").find((line) => line.startsWith(`${name}: `))?.slice(name.length + 2);
      // A block without data is there to keep the connection open.
      if (field("data") === undefined) continue;
      drawEvent(JSON.parse(field("data")));
      seen = field("id") ?? seen;
    }
  }
}

const wait = (millis) => new Promise((resolve) => setTimeout(resolve, millis));

async function follow() {
  for (;;) {
    let again = wait(AGAIN);
    try {
      await read();
      state("waiting", "connecting again");
    } catch (error) {
      state("lost", error.status === 401 ? "a key is needed" : "connection lost");
      // To be refused again and again is of no use, and would be counted.
      if (error.status === 401) again = keyed;
    }
    await Promise.race([again, keyed]);
  }
}

/** Resolves when a key is given. */
let keyed, tell;
function awaitKey() {
  keyed = new Promise((resolve) => { tell = resolve; });
}
awaitKey();

byId("key").addEventListener("submit", async (submit) => {
  submit.preventDefault();
  key = byId("key-field").value.trim();
  byId("key-field").value = "";
  problem();
  if (await look()) {
    tell();
    awaitKey();
  } else {
    problem("The key was not accepted.");
  }
});

async function poll() {
  for (;;) {
    // As above.
    if (byId("key").hidden) await look();
    await wait(POLL);
  }
}

poll();
follow();
