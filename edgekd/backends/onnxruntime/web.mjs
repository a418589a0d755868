/* ONNX Runtime for the page's worker. */

export async function load(base, { file, inputs, threads, options, gpu }) {
  const ort = await import(base + (gpu ? "ort.webgpu.mjs" : "ort.wasm.mjs"));
  ort.env.wasm.wasmPaths = { wasm: base + (gpu ? "ort-wasm-simd-threaded.asyncify.wasm" : "ort-wasm-simd-threaded.wasm") };
  ort.env.wasm.numThreads = threads;
  ort.env.logLevel = "error";
  const open = () => ort.InferenceSession.create(file, {
    executionProviders: [options.accelerator], graphOptimizationLevel: "all",
  });
  let session = await open();
  if (session.inputNames.length !== inputs.length) throw new Error("the model's inputs are not those of its manifest");
  let feeds = {};
  return {
    threads: ort.env.wasm.numThreads,
    feed(arrays) {
      feeds = Object.fromEntries(arrays.map(({ dtype, shape, data }, at) => (
        [session.inputNames[at], new ort.Tensor(dtype, data, shape)]
      )));
    },
    run: () => session.run(feeds),
    read: (outputs) => session.outputNames.map((name) => {
      const { data, dims, type } = outputs[name];
      return { data, shape: dims, dtype: type };
    }),
    free() {},
    async again() {
      await session.release();
      session = await open();
    },
  };
}
