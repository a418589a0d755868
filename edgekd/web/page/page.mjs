/* The page: it asks for work, lets a worker do it, answers, and shows what came of it. */

import { Cards, show } from "./cards.mjs";

const base = new URL("./", location.href);
const cards = new Cards(document.querySelector("#cards"));
let worker = null;

/** What the browser tells of itself; much of it is rounded, and it need not be true. */
async function hello() {
  const told = await navigator.userAgentData?.getHighEntropyValues?.(["platformVersion", "architecture", "bitness"])
    .catch(() => null);
  const platform = told ? [told.platform, told.architecture, told.bitness].filter(Boolean).join(" ") : navigator.platform;
  return {
    kind: "hello",
    agent: navigator.userAgent.slice(0, 500),
    platform: platform || "unknown",
    cores: navigator.hardwareConcurrency || 1,
    memory_gib: navigator.deviceMemory ?? null,
    isolated: self.crossOriginIsolated === true,
    secure: self.isSecureContext === true,
    gpu: await gpu(),
  };
}

async function gpu() {
  const adapter = await navigator.gpu?.requestAdapter().catch(() => null);
  const { vendor, architecture, description } = adapter?.info ?? {};
  return [vendor, architecture, description].filter(Boolean).join(" ") || null;
}

/** A header in JSON behind its length, then arrays. */
async function post(header, arrays = []) {
  const text = new TextEncoder().encode(JSON.stringify(header));
  const length = new DataView(new ArrayBuffer(4));
  length.setUint32(0, text.length, true);
  const response = await fetch(new URL("answer", base), { method: "POST", body: new Blob([length.buffer, text, ...arrays]) });
  return response.ok;
}

/** A request to load has a worker of its own: a fresh runtime, and a fresh heap. */
function fresh() {
  worker?.terminate();
  worker = new Worker(new URL("worker.js", base));
}

/** What the worker answers to a request, or why it did not in time. */
function work(request) {
  if (request.do === "load") fresh();
  return new Promise((resolve) => {
    const failed = (error) => resolve({ header: { kind: "failed", error: String(error).slice(0, 400) } });
    if (!worker) { failed("this page has loaded no model yet"); return; }
    const late = setTimeout(() => {
      worker.terminate();
      worker = null;
      failed(`no answer within ${request.seconds} s`);
    }, request.seconds * 1000);
    worker.onmessage = ({ data }) => { clearTimeout(late); resolve(data); };
    worker.onerror = (event) => { clearTimeout(late); failed(event.message || "the worker did not start"); };
    worker.postMessage(request);
  });
}

/** Whether the page was hidden at any time meanwhile: browsers slow such pages. */
async function watched(task) {
  let hidden = document.hidden;
  const look = () => { hidden ||= document.hidden; };
  document.addEventListener("visibilitychange", look);
  const result = await task();
  document.removeEventListener("visibilitychange", look);
  return { ...result, hidden };
}

async function serve(request) {
  cards.begin(request);
  const { header, arrays, hidden } = await watched(() => work(request));
  const answer = { ...header, ask: request.ask, ...(header.kind === "timed" ? { hidden } : {}) };
  cards.end(answer);
  if (!await post(answer, arrays)) await post({ kind: "failed", ask: request.ask, error: "its answer was refused" });
}

async function main() {
  const self = await hello();
  cards.facts(self);
  if (!await post(self)) {
    show("bad", "Another page does this work", "Close the other one and load this again.");
    return;
  }
  addEventListener("pagehide", () => { post({ kind: "gone" }); });
  for (;;) {
    const { notes, request, over } = await (await fetch(new URL("work", base))).json();
    notes.forEach((note) => cards.note(note));
    if (request) await serve(request);
    if (over) break;
  }
  worker?.terminate();
  show("done", "Done", "edgekd has what it asked for, and listens no longer. You can close this page.");
}

main().catch(() => show("bad", "edgekd is gone", "It ended, or cannot be reached any more. You can close this page."));
