"""The rows of the table, in the order of the README's promise."""

from architectures.efficientnet_lite import photographs, pretrained
from architectures.maps import SSD, UNet
from architectures.mobilenet_v3 import MobileNetV3Small
from architectures.network import Network, blobs, tokens
from architectures.resnet import ResNet
from architectures.small import Autoencoder, ConvNeXt, GroupedDilated, KeywordSpotter
from architectures.vit import ViT
from edgekd.students import cnn1d, minilm, mobilenet, transformer

LENGTH, VOCABULARY = 32, 30522

NETWORKS = {
    "resnet18": Network("ResNet-18, 64×64", lambda: ResNet(18, 10), blobs(3, 64, 64), ("fc",)),
    "resnet50": Network("ResNet-50, 64×64", lambda: ResNet(50, 10), blobs(3, 64, 64), ("fc",)),
    "mobilenet-v2": Network("MobileNetV2, 64×64", lambda: mobilenet.build(10, 3), blobs(3, 64, 64), ("head.2",)),
    "mobilenet-v3-small": Network("MobileNetV3-small, 64×64", lambda: MobileNetV3Small(10), blobs(3, 64, 64), ("fc",)),
    "efficientnet-lite0": Network("EfficientNet-Lite0, 224×224, ImageNet weights", pretrained, photographs),
    "minilm": Network(
        "all-MiniLM-L6-v2, 32 tokens, trained weights", minilm.build, tokens(VOCABULARY, LENGTH), length=LENGTH
    ),
    "transformer": Network(
        "a MiniLM student: two layers of width 128, 32 tokens",
        lambda: transformer.build(10, vocabulary=1000, positions=LENGTH),
        tokens(1000, LENGTH),
        ("head",),
        LENGTH,
    ),
    "vit-tiny": Network("ViT-tiny/16, 64×64", lambda: ViT(64, 16, 10), blobs(3, 64, 64), ("fc",)),
    "cnn1d": Network("1-D CNN, six channels, 100 samples", lambda: cnn1d.build(7, 6), blobs(6, 100), ("head.2",)),
    "ds-cnn": Network("DS-CNN, MLPerf Tiny's keyword spotter", KeywordSpotter, blobs(1, 49, 10), ("fc",)),
    "u-net": Network("U-Net, 48×48", lambda: UNet(4), blobs(3, 48, 48), ("head",)),
    "ssd": Network(
        "single-shot detector, 64×64, two outputs",
        lambda: SSD(5),
        blobs(3, 64, 64),
        ("scores.0", "scores.1", "boxes.0", "boxes.1"),
    ),
    "convnext": Network("ConvNeXt blocks, 32×32", ConvNeXt, blobs(3, 32, 32), ("fc",)),
    "autoencoder": Network("dense autoencoder, MLPerf Tiny's anomaly detector", Autoencoder, blobs(640), ("fc",)),
    "grouped-dilated": Network("grouped and dilated convolutions, 32×32", GroupedDilated, blobs(3, 32, 32), ("fc",)),
}
