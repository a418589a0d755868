/* One worker: a runtime and a model. It loads, infers and times, away from the page. A classic one: LiteRT.js needs that. */
"use strict";

const TYPES = {
  float32: Float32Array, int8: Int8Array, uint8: Uint8Array, int32: Int32Array, int64: BigInt64Array, bool: Uint8Array,
};
const NAMES = new Map([
  [Float32Array, "float32"], [Int8Array, "int8"], [Uint8Array, "uint8"], [Int32Array, "int32"], [BigInt64Array, "int64"],
]);
const STEPS_PER_BLOCK = 50; // of the clock, so that one of them is 2 % of what is timed at most
const FEWEST_BLOCKS = 20;
const base = new URL("./", self.location).href;
let model = null;
let inputs = [];

const VERBS = { load, infer, time };

self.onmessage = async ({ data: request }) => {
  try {
    const answer = await VERBS[request.do](request);
    self.postMessage(answer, answer.arrays ?? []);
  } catch (error) {
    self.postMessage({ header: { kind: "failed", error: String(error?.message ?? error).slice(0, 400) } });
  }
};

/** The runtime and the model, as a first visitor gets them: fetched, compiled, ready to run. */
async function load(request) {
  const begin = performance.now();
  const gpu = request.options.accelerator === "webgpu" ? await gpuName() : null;
  const adapter = await import(base + request.adapter);
  model = await adapter.load(base, { ...request, gpu, file: new Uint8Array(await fetchBytes(request.model)) });
  const ms = performance.now() - begin;
  inputs = request.inputs;
  return { header: { kind: "loaded", ms, threads: model.threads, clock_ms: clockStep(), gpu } };
}

async function gpuName() {
  const adapter = await navigator.gpu?.requestAdapter();
  if (!adapter) throw new Error("this browser has no WebGPU here");
  const { vendor, architecture, description } = adapter.info;
  return [vendor, architecture, description].filter(Boolean).join(" ") || "unknown";
}

/** Batch after batch; each output's batches in one buffer. */
async function infer({ data, samples, batch }) {
  const arrays = await fetchArrays(data, samples);
  const parts = [];
  for (let begin = 0; begin < samples; begin += batch) {
    model.feed(arrays.map((array, at) => {
      const size = array.length / samples;
      return { ...inputs[at], data: array.slice(begin * size, (begin + batch) * size) };
    }));
    parts.push(await model.read(await model.run()));
  }
  return joined(parts);
}

function joined(parts) {
  const dtypes = [], shapes = [], arrays = [];
  parts[0].forEach(({ data, shape, dtype }, at) => {
    const whole = new data.constructor(parts.reduce((sum, part) => sum + part[at].data.length, 0));
    parts.reduce((place, part) => { whole.set(part[at].data, place); return place + part[at].data.length; }, 0);
    dtypes.push(dtype ?? NAMES.get(data.constructor) ?? data.constructor.name);
    shapes.push([parts.reduce((sum, part) => sum + part[at].shape[0], 0), ...shape.slice(1)]);
    arrays.push(whole.buffer);
  });
  return { header: { kind: "outputs", dtypes, shapes }, arrays };
}

/** Nothing but inferences between two looks at the clock: as many as its step asks for. */
async function time({ data, seconds_timed: seconds, count, warmup, batch }) {
  const arrays = await fetchArrays(data, batch);
  model.feed(arrays.map((array, at) => ({ ...inputs[at], data: array })));
  const [first] = await blocks(1, 0, 1);
  const warm = await blocks(1, seconds / 2, warmup);
  const block = Math.max(1, Math.ceil(STEPS_PER_BLOCK * clockStep() * warm.length / warm.reduce((a, b) => a + b, 0)));
  const samples = await blocks(block, seconds, Math.max(FEWEST_BLOCKS, Math.ceil(count / block)));
  const begin = performance.now();
  await model.again();
  const header = { kind: "timed", first_ms: first, samples_ms: samples, block, warm_load_ms: performance.now() - begin };
  return { header };
}

async function blocks(block, seconds, count) {
  const samples = [];
  const end = performance.now() + seconds * 1000;
  while (samples.length < count || performance.now() < end) {
    const begin = performance.now();
    for (let step = 0; step < block; step += 1) model.free(await model.run());
    samples.push(Math.max((performance.now() - begin) / block, 1e-6));
  }
  return samples;
}

/** The smallest step that the clock makes: browsers coarsen it. */
function clockStep() {
  let least = Infinity;
  for (let seen = 0, before = performance.now(); seen < 20;) {
    const now = performance.now();
    if (now > before) {
      least = Math.min(least, now - before);
      seen += 1;
    }
    before = now;
  }
  return least;
}

async function fetchBytes(name) {
  const response = await fetch(base + name);
  if (!response.ok) throw new Error(`${name} did not arrive (${response.status})`);
  return response.arrayBuffer();
}

/** The inputs' arrays, which lie one behind the other. */
async function fetchArrays(name, samples) {
  const buffer = await fetchBytes(name);
  let begin = 0;
  return inputs.map(({ dtype, shape }) => {
    const bytes = samples * shape.slice(1).reduce((a, b) => a * b, 1) * TYPES[dtype].BYTES_PER_ELEMENT;
    begin += bytes;
    return new TYPES[dtype](buffer.slice(begin - bytes, begin));
  });
}
