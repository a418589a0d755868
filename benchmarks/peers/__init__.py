"""Our int8 models beside those of other quantisers: `side_by_side.py` puts them together.

Each file in `scripts/` is one peer. It runs in a virtual environment of its own, with the packages that it pins in its
first lines (PEP 723), takes a folder with the float student (`model.onnx`, `model.pt2`) and its calibration samples
(`calibration.npy`), and writes what it makes of them into another.
"""
