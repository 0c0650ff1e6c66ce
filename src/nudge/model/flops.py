"""How many weights a network of a shape has, and how much arithmetic it does: counted, not measured.

A multiply-add is two floating-point operations; the backward pass costs twice the forward pass, one product for the
gradient of each factor (Kaplan et al. 2020, arXiv:2001.08361, section 2.1). What is not a matrix product (norms,
rotations, softmax, embeddings, which are looked up) is left out, as torch's counter leaves it out.
"""

from dataclasses import dataclass

from nudge.config.schema import ModelConfig

# Forward and backward pass, in forward passes.
TRAINING = 3


@dataclass(frozen=True)
class Shape:
    """What a decoder's size follows from.

    Attributes:
        width: of the residual stream.
        layers: blocks.
        heads, kv_heads: of queries, and of keys and values.
        head_width: of one head.
        mlp_width: of the hidden layer.
        mlp_matrices: in each MLP: 3 if it is gated, else 2.
        vocabulary: distinct tokens.
        tied: whether embeddings and output layer are one matrix.
    """

    width: int
    layers: int
    heads: int
    kv_heads: int
    head_width: int
    mlp_width: int
    mlp_matrices: int
    vocabulary: int
    tied: bool

    @staticmethod
    def of(config: ModelConfig, vocabulary: int) -> "Shape":
        """Return the shape of our decoder."""
        return Shape(
            config.width,
            config.layers,
            config.heads,
            config.kv_heads,
            config.width // config.heads,
            config.mlp_width,
            3,
            vocabulary,
            config.tied,
        )

    @property
    def weights(self) -> dict[str, int]:
        """Count the weights, by part; the norms' gains, two in a layer and one at the end, are a part of their own."""
        projections = 2 * self.width * self.head_width * (self.heads + self.kv_heads)  # q and o; k and v
        return {
            "embeddings": self.vocabulary * self.width,
            "attention": self.layers * projections,
            "mlp": self.layers * self.mlp_matrices * self.width * self.mlp_width,
            "norms": (2 * self.layers + 1) * self.width,
            "output": 0 if self.tied else self.vocabulary * self.width,
        }

    def forward_flops(self, context: int, causal: bool = False) -> dict[str, float]:
        """Count the floating-point operations of one forward pass over one position, by part.

        Attention scores and their mixture count each pair of positions, as the matrix products that compute them do
        and as Chowdhery et al. 2022 (arXiv:2204.02311, appendix B) count them.

        Args:
            context: positions in a row.
            causal: count only the pairs that a causal mask leaves: (context + 1) / 2 for each position.
        """
        looked_at = (context + 1) / 2 if causal else context
        return {
            "embeddings": 0.0,
            "projections": 2.0 * self.weights["attention"],
            "scores": 2.0 * 2 * self.layers * self.heads * self.head_width * looked_at,
            "mlp": 2.0 * self.weights["mlp"],
            "output": 2.0 * self.vocabulary * self.width,
        }


def training_flops_per_token(config: ModelConfig, vocabulary: int) -> float:
    """Count the floating-point operations that one training step spends on one token of a row."""
    return TRAINING * sum(Shape.of(config, vocabulary).forward_flops(config.context).values())
