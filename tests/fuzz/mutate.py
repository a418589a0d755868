"""Mutations of real files: bytes of any format, JSON documents by value, ONNX models by field."""

import io
import json
import zipfile
from random import Random
from typing import Any

import onnx

BYTES = (0, 1, 0x7F, 0x80, 0xFF)
NUMBERS = (0, -1, 1, 2, 127, 128, 255, 2**31 - 1, -(2**31), 2**40, -(2**62))
VALUES = (None, True, -1, 0, 2**63, 1e308, "", "../x", "/etc/passwd", [], {}, [None], {"a": 1}, "NaN", "\x00")
OPS = ("Relu", "Conv", "Gemm", "Reshape", "Clip", "QuantizeLinear", "DequantizeLinear", "Nothing", "If", "Loop", "")


def mutate_bytes(content: bytes, random: Random) -> bytes:
    """One to four edits: bits, bytes, chunks dropped, doubled, moved, or the end cut off."""
    data = bytearray(content)
    for _ in range(random.randint(1, 4)):
        at = random.randrange(len(data) + 1) if data else 0
        size = min(random.choice((1, 2, 4, 16, 200)), len(data) - at)
        match random.randrange(6):
            case 0 if size:
                data[at] ^= 1 << random.randrange(8)
            case 1 if size:
                data[at : at + size] = bytes(random.choice(BYTES) for _ in range(size))
            case 2:
                del data[at : at + size]
            case 3:
                data[at:at] = data[at : at + size] or random.randbytes(4)
            case 4:
                other = random.randrange(len(data) + 1)
                data[at : at + size] = data[other : other + size]
            case 5 if random.random() < 0.2:
                del data[at:]
    return bytes(data)


def mutate_archive(content: bytes, random: Random) -> bytes:
    """One file in a zip, mutated under a checksum of its own: readers get to see it."""
    changed = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(content)) as archive, zipfile.ZipFile(changed, "w") as copy:
        chosen = random.choice(archive.namelist())
        for name in archive.namelist():
            data = archive.read(name)
            copy.writestr(name, _with_damaged_start(data, random) if name == chosen else data)
    return changed.getvalue()


def _with_damaged_start(data: bytes, random: Random) -> bytes:
    """Headers are what parsers trip over; the numbers behind them may be any."""
    start = random.choice((32, 128, len(data)))
    return mutate_bytes(data[:start], random) + data[start:]


def mutate_json(content: bytes, random: Random) -> bytes:
    """A value somewhere in the document replaced, dropped or doubled under another key."""
    document = json.loads(content)
    parents = list(_containers(document))
    for _ in range(random.randint(1, 3)):
        parent = random.choice(parents)
        keys = list(parent) if isinstance(parent, dict) else list(range(len(parent)))
        key = random.choice(keys) if keys else "new"
        if isinstance(parent, list) and not keys:
            parent.append(random.choice(VALUES))
        elif random.random() < 0.2 and keys:
            del parent[key]
        elif random.random() < 0.2 and isinstance(parent, dict):
            parent[random.choice(("new", "../x", f"{key}s", ""))] = parent.get(key)
        else:
            parent[key] = random.choice(VALUES)
    return json.dumps(document).encode()


def _containers(document: Any) -> list[Any]:
    inner = document.values() if isinstance(document, dict) else document if isinstance(document, list) else ()
    own = [document] if isinstance(document, dict | list) else []
    return own + [found for value in inner for found in _containers(value)]


def mutate_model(content: bytes, random: Random) -> bytes:
    """Fields of an ONNX model set to what its readers may not expect; the file itself parses."""
    model = onnx.ModelProto.FromString(content)
    for _ in range(random.randint(1, 3)):
        random.choice(_MODEL_EDITS)(model.graph, random)
    if random.random() < 0.1:
        model.opset_import[0].version = random.choice((0, 7, 11, 13, 18, 24, 25, 99))
    return model.SerializeToString()


def _edge(graph: onnx.GraphProto, random: Random) -> str:
    names = [name for node in graph.node for name in (*node.input, *node.output)]
    names += [value.name for value in (*graph.initializer, *graph.input, *graph.output)]
    return random.choice([*names, "nowhere", ""])


def _rewire(graph: onnx.GraphProto, random: Random) -> None:
    node = random.choice(graph.node)
    edges = node.input if random.random() < 0.7 and node.input else node.output
    if edges:
        edges[random.randrange(len(edges))] = _edge(graph, random)


def _resize(graph: onnx.GraphProto, random: Random) -> None:
    node = random.choice(graph.node)
    edges = random.choice((node.input, node.output))
    if random.random() < 0.5 and edges:
        edges.pop()
    else:
        edges.append(_edge(graph, random))


def _retype(graph: onnx.GraphProto, random: Random) -> None:
    random.choice(graph.node).op_type = random.choice([*OPS, *(node.op_type for node in graph.node)])


def _attribute(graph: onnx.GraphProto, random: Random) -> None:
    found = [entry for node in graph.node for entry in node.attribute]
    if not found:
        return
    entry, number = random.choice(found), random.choice(NUMBERS)
    match random.randrange(4):
        case 0:
            entry.i = number
        case 1 if entry.ints:
            entry.ints[random.randrange(len(entry.ints))] = number
        case 2:
            entry.ints.append(number)
        case 3:
            entry.type = random.randrange(15)


def _tensor(graph: onnx.GraphProto, random: Random) -> None:
    tensor = random.choice(graph.initializer)
    match random.randrange(5):
        case 0:
            tensor.data_type = random.randrange(24)
        case 1 if tensor.dims:
            tensor.dims[random.randrange(len(tensor.dims))] = random.choice(NUMBERS)
        case 2:
            tensor.dims.append(random.choice(NUMBERS))
        case 3:
            tensor.raw_data = mutate_bytes(tensor.raw_data, random)
        case 4:
            tensor.name = _edge(graph, random)


def _declared(graph: onnx.GraphProto, random: Random) -> None:
    value = random.choice([*graph.input, *graph.output])
    tensor = value.type.tensor_type
    match random.randrange(4):
        case 0:
            tensor.elem_type = random.randrange(24)
        case 1 if tensor.shape.dim:
            random.choice(tensor.shape.dim).dim_value = random.choice(NUMBERS)
        case 2:
            tensor.shape.dim.add().dim_value = random.choice(NUMBERS)
        case 3:
            value.type.Clear()


def _drop(graph: onnx.GraphProto, random: Random) -> None:
    field = random.choice([graph.node, graph.initializer, graph.input, graph.output])
    if len(field) > 1:
        del field[random.randrange(len(field))]


def _double(graph: onnx.GraphProto, random: Random) -> None:
    field = random.choice([graph.node, graph.initializer, graph.input, graph.output])
    field.add().CopyFrom(random.choice(field))


_MODEL_EDITS = (_rewire, _resize, _retype, _attribute, _tensor, _declared, _drop, _double)
