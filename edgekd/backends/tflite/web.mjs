/* LiteRT for the page's worker. Its threads do not answer in a worker, so it has one. */

export async function load(base, { file, inputs, options, gpu }) {
  const litert = await import(base + "litert.mjs");
  await litert.loadLiteRt(base, { threads: false });
  const open = () => litert.loadAndCompile(file, { accelerator: options.accelerator });
  let compiled = await open();
  if (compiled.getInputDetails().length !== inputs.length) throw new Error("the model's inputs are not its manifest's");
  let tensors = [];
  const free = (outputs) => outputs.forEach((output) => output.delete());
  return {
    threads: 1,
    feed(arrays) {
      free(tensors);
      tensors = arrays.map(({ shape, data }) => new litert.Tensor(data, shape));
    },
    async run() {
      const outputs = await compiled.run(tensors);
      if (gpu) await outputs[0].data(); // or only the asking would be timed
      return outputs;
    },
    async read(outputs) {
      const shapes = compiled.getOutputDetails().map(({ shape }) => [...shape]);
      const read = [];
      for (const [at, output] of outputs.entries()) read.push({ data: (await output.data()).slice(), shape: shapes[at] });
      free(outputs);
      return read;
    },
    free,
    async again() {
      compiled.delete();
      compiled = await open();
    },
  };
}
