// Fills the tables of index.html from /status and /decisions. What a table shows is said there: `data-rows` is a path
// whose `*` stands for each item of a list or each value of an object (its key is then `@1`, `@2`, …), `data-field` is
// a path in the row, `data-as` one of the forms below. Everything is put in as text, never as HTML: names and reasons
// come from policies, engines and exporters.
"use strict";

const INTERVAL_MS = 2000; // a look costs the sidecar about a millisecond for each 100 endpoints
const PATIENCE_MS = 10000;
const MAX_ROWS = 500; // more than anybody reads; a browser draws them in a few milliseconds
const DECISIONS = 15;

const BAD = new Set(["critical", "error", "rejected", "refused", "unhealthy", "ejected", "ERROR", "offline", "failed",
  "over"]);
const DOUBTFUL = new Set(["warning", "rolled-back", "rolling-out", "degraded", "half-open", "warming", "draining",
  "drained", "removed", "STALE", "NOT_SENT", "failover", "stale", "no", "under"]);

function at(value, path) {
  for (const key of path === "" ? [] : path.split(".")) {
    if (value === null || typeof value !== "object" || !Object.hasOwn(value, key)) return undefined;
    value = value[key];
  }
  return value;
}

// Every row that a path leads to, with the keys that its stars stood for.
function rowsOf(value, parts, keys) {
  if (parts.length === 0) return [{ value, keys }];
  const [part, ...rest] = parts;
  if (part !== "*") return rowsOf(at(value, part), rest, keys);
  if (value === null || typeof value !== "object") return [];
  return Object.keys(value).flatMap((key) => rowsOf(value[key], rest, [...keys, key]));
}

function number(value) {
  return typeof value === "number" ? value.toLocaleString("en", { maximumFractionDigits: 2 }) : "";
}

const FORMS = {
  number,
  share: (value) => (typeof value === "number" ? `${Math.round(100 * value)} %` : ""),
  seconds: (value) => (typeof value === "number" ? `${number(value)} s ago` : "never"),
  time: (value) => (typeof value === "number" ? new Date(1000 * value).toLocaleTimeString() : ""),
  count: (value) => (value && typeof value === "object" ? String(Object.keys(value).length) : ""),
  yes: (value) => (value ? "yes" : "no"),
  word: (value) => String(value ?? ""),
  decision: (value) => String(value ?? ""),
  heat: (value) => (Array.isArray(value) ? value.map((gpu) => number(gpu.temperature)).filter(Boolean).join(", ") : ""),
  types: (value) => Object.entries(value ?? {}).map(([type, cell]) => `${type} ${cell.state}`).join(", "),
};

function shown(value, form) {
  if (form) return FORMS[form](value);
  if (value === null || value === undefined) return "";
  return typeof value === "object" ? JSON.stringify(value) : String(value);
}

function moodOf(text) {
  const words = text.split(/[\s,]+/);
  if (words.some((word) => BAD.has(word))) return "bad";
  return words.some((word) => DOUBTFUL.has(word)) ? "doubtful" : "";
}

function cellOf(row, header) {
  const cell = document.createElement("td");
  const { field, as: form } = header.dataset;
  const value = field.startsWith("@") ? row.keys[Number(field.slice(1)) - 1] : at(row.value, field);
  const text = shown(value, form);
  if (form === "decision" && text) {
    const link = document.createElement("a");
    link.href = `/decisions/${encodeURIComponent(text)}`;
    link.textContent = text;
    cell.append(link);
  } else {
    cell.textContent = text;
  }
  if (form === "word" || form === "types" || form === "yes") cell.className = moodOf(text);
  if (form === "number" || form === "share" || form === "seconds" || form === "count") cell.className = "right";
  return cell;
}

function fill(table, status) {
  const headers = [...table.tHead.rows[0].cells];
  const rows = rowsOf(status, table.dataset.rows.split("."), []);
  const body = document.createElement("tbody");
  for (const row of rows.slice(0, MAX_ROWS)) {
    const line = body.insertRow();
    line.append(...headers.map((header) => cellOf(row, header)));
  }
  if (rows.length > MAX_ROWS) {
    const cell = body.insertRow().insertCell();
    cell.colSpan = headers.length;
    cell.textContent = `and ${rows.length - MAX_ROWS} more`;
  }
  for (const old of [...table.tBodies]) old.remove();
  table.append(body);
  table.hidden = rows.length === 0;
}

function show(status, decisions) {
  for (const place of document.querySelectorAll("[data-value]")) {
    place.textContent = shown(at(status, place.dataset.value), place.dataset.as);
    if (place.dataset.as === "word") place.className = moodOf(place.textContent);
  }
  for (const section of document.querySelectorAll("main section")) {
    const tables = [...section.querySelectorAll("table")];
    for (const table of tables) fill(table, table.dataset.page === "decisions" ? decisions : status);
    section.hidden = tables.every((table) => table.hidden);
  }
}

async function ask(path) {
  const answer = await fetch(path, { cache: "no-store", signal: AbortSignal.timeout(PATIENCE_MS) });
  if (!answer.ok) throw new Error(`${path} answered ${answer.status}`);
  return answer.json();
}

async function look() {
  const asked = document.getElementById("asked");
  try {
    if (!document.hidden) {
      const [status, decisions] = await Promise.all([ask("/status"), ask(`/decisions?limit=${DECISIONS}`)]);
      show(status, decisions);
      asked.className = "";
      asked.textContent = `as of ${new Date().toLocaleTimeString()}`;
    }
  } catch (error) {
    // What is shown stays, and is marked as old.
    asked.className = "bad";
    asked.textContent = `no answer at ${new Date().toLocaleTimeString()}: ${error.message}; below is what was told before`;
  }
  setTimeout(look, INTERVAL_MS);
}

look();
