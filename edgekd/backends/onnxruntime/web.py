"""ONNX Runtime in a browser: onnxruntime-web, in WebAssembly or by WebGPU."""

from edgekd.web.runtimes import Package, WebRuntime

WEB = WebRuntime(
    title="onnxruntime-web",
    packages=(
        Package(
            "onnxruntime-web",
            "1.30.0",
            {
                "ort.wasm.mjs": (
                    "dist/ort.wasm.bundle.min.mjs",
                    "11e64bd8ffe11bd1a2a2f0d6275fdfbbba7262f0b76b99b53d228a8a22ef3d90",
                ),
                "ort-wasm-simd-threaded.wasm": (
                    "dist/ort-wasm-simd-threaded.wasm",
                    "3398c10d07d229bd91b364548e130e0e51a8e5704b88c7c083ebbeb78842dee2",
                ),
                "ort.webgpu.mjs": (
                    "dist/ort.webgpu.bundle.min.mjs",
                    "0730816731ce2cdfb06f273da065d4a1c7091eb9d1756a83b2916c8a89d015e2",
                ),
                "ort-wasm-simd-threaded.asyncify.wasm": (
                    "dist/ort-wasm-simd-threaded.asyncify.wasm",
                    "39f9f0894d478800487ed9f7dbe92618498db320cf55c8e3d89adff8dce658da",
                ),
            },
        ),
    ),
)
