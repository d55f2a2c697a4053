"""Networks that read more than one digit: the digits of a row, and where on a page digits are."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tenfold.models.cnn import Block

NOTHING = 10  # the class behind the ten digits: no digit here


class LineNet(nn.Module):
    """A row of digits, 32 pixels high, to what each four of its columns show: a digit, or nothing new.

    widths: channels at half, a quarter and an eighth of the height; context: of the layers along the row.
    Gives (B, W / 4, 11) logits for (B, 1, 32, W) levelled pixels, W a multiple of 4; the last class is CTC's blank
    (Graves et al., "Connectionist temporal classification", 2006).
    """

    def __init__(self, widths: list[int], context: int = 192, dropout: float = 0.1) -> None:
        super().__init__()
        half, quarter, eighth = widths
        self.features = nn.Sequential(
            _down(1, half, 5, (2, 2)),
            Block(half, half, 3, "relu", True),
            _down(half, quarter, 3, (2, 2)),
            Block(quarter, quarter, 3, "relu", True),
            Block(quarter, quarter, 3, "relu", True),
            _down(quarter, eighth, 3, (2, 1)),
            Block(eighth, eighth, 3, "relu", True),
            Block(eighth, eighth, 3, "relu", True),
            nn.Conv2d(eighth, context, (4, 1), bias=False),
            nn.BatchNorm2d(context),
            nn.ReLU(),
        )
        self.along = nn.Sequential(
            nn.Dropout(dropout), Along(context, 5), Along(context, 5), nn.Dropout(dropout), nn.Conv2d(context, 11, 1)
        )

    def forward(self, x: Tensor) -> Tensor:
        """Return logits, (B, W / 4, 11)."""
        logits: Tensor = self.along(self.features(x))
        return logits.squeeze(2).transpose(1, 2)


class Along(nn.Module):
    """A convolution along the row, batch norm, activation, and what came in added."""

    def __init__(self, width: int, kernel: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(width, width, (1, kernel), padding=(0, kernel // 2), bias=False)
        self.norm = nn.BatchNorm2d(width)

    def forward(self, x: Tensor) -> Tensor:
        """Return (B, width, 1, W)."""
        return x + F.relu(self.norm(self.conv(x)))


class PageNet(nn.Module):
    """A part of a page to what stands at each fourth pixel: a digit's middle, or nothing; and how large it is.

    widths: channels at a half, a quarter, an eighth and a sixteenth of the size; what is seen coarsely is added to what
    is seen finely. Gives (B, 13, H / 4, W / 4) for (B, 1, H, W) levelled pixels, H and W multiples of 16: eleven logits
    (the last: nothing), then the logarithms of a digit's width and height in pixels.
    """

    def __init__(self, widths: list[int]) -> None:
        super().__init__()
        half, quarter, eighth, sixteenth = widths
        self.fine = nn.Sequential(
            _down(1, half, 5, (2, 2)), _down(half, quarter, 3, (2, 2)), Block(quarter, quarter, 3, "relu", True)
        )
        self.middle = nn.Sequential(
            _down(quarter, eighth, 3, (2, 2)),
            Block(eighth, eighth, 3, "relu", True),
            Block(eighth, eighth, 3, "relu", True),
        )
        self.coarse = nn.Sequential(
            _down(eighth, sixteenth, 3, (2, 2)),
            Block(sixteenth, sixteenth, 3, "relu", True),
            Block(sixteenth, sixteenth, 3, "relu", True),
        )
        self.from_coarse, self.from_middle = nn.Conv2d(sixteenth, eighth, 1), nn.Conv2d(eighth, quarter, 1)
        self.join_middle = Block(eighth, eighth, 3, "relu", True)
        self.join_fine = nn.Sequential(
            Block(quarter, quarter, 3, "relu", True), Block(quarter, quarter, 3, "relu", True)
        )
        self.head = nn.Conv2d(quarter, 13, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Return (B, 13, H / 4, W / 4)."""
        fine = self.fine(x)
        middle = self.middle(fine)
        coarse = self.coarse(middle)
        middle = self.join_middle(middle + doubled(self.from_coarse(coarse)))
        fine = self.join_fine(fine + doubled(self.from_middle(middle)))
        maps: Tensor = self.head(fine)
        return maps


def doubled(x: Tensor) -> Tensor:
    """Return (B, C, 2 H, 2 W), each place of `x` four times, in the plainest operators."""
    batch, channels, height, width = x.shape
    wide = torch.stack([x, x], 4).reshape(batch, channels, height, 2 * width)
    return torch.stack([wide, wide], 3).reshape(batch, channels, 2 * height, 2 * width)


def _down(inside: int, outside: int, kernel: int, stride: tuple[int, int]) -> nn.Sequential:
    conv = nn.Conv2d(inside, outside, kernel, stride, kernel // 2, bias=False)
    return nn.Sequential(conv, nn.BatchNorm2d(outside), nn.ReLU())
