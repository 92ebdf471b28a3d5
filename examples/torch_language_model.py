"""A next-word model in PyTorch whose output layer and loss are one: the logits, positions by words, never exist.

Two words predict the next:  h = tanh(W [e1, e2] + b),  loss = -log softmax(C h)[next].
"""

import torch
from torch import nn

import fastsoftmax as fs
import fastsoftmax.torch as fst

TEXT = """
the cat sat on the mat and the dog lay by the door ; the cat saw the dog and the dog saw the cat ;
then the cat ran up the tree and the dog ran round the tree ; the bird in the tree sang to the cat and the dog .
""".split()


class NextWord(nn.Module):
    """Embeddings of two words, a hidden layer, and a loss that holds the classifier."""

    def __init__(self, n_words, width=32):
        super().__init__()
        self.embedding = nn.Embedding(n_words, width)
        self.hidden = nn.Linear(2 * width, width)
        self.loss = fst.LinearCrossEntropyLoss(width, n_words, bias=True)

    def features(self, context):
        return torch.tanh(self.hidden(self.embedding(context).flatten(-2)))

    def forward(self, context, following):
        """Word indices (n, 2) and (n,) -> the mean loss in nats."""
        return self.loss(self.features(context), following)

    def probabilities(self, context):
        return fst.softmax(self.loss.linear(self.features(context)), dim=-1)


def sample(text=TEXT):
    """-> vocabulary, contexts (n, 2), the words that follow (n,)."""
    words = fs.Vocabulary(sorted(set(text)))
    ids = torch.from_numpy(words.encode(text))
    return words, torch.stack((ids[:-2], ids[1:-1]), dim=1), ids[2:]


def train(model, contexts, following, n_steps=100):
    """Adam on all of the text at once -> the loss before every step."""
    optimizer = torch.optim.Adam(model.parameters(), lr=0.02)
    history = []
    for _ in range(n_steps):
        optimizer.zero_grad()
        loss = model(contexts, following)
        loss.backward()
        optimizer.step()
        history.append(loss.item())
    return history


def main():
    torch.manual_seed(0)
    words, contexts, following = sample()
    model = NextWord(len(words))
    history = train(model, contexts, following)
    print(f"{len(following)} words of {len(words)}: loss {history[0]:.3f} -> {history[-1]:.3f} nats")
    with torch.no_grad():
        probs = model.probabilities(torch.from_numpy(words.encode(["sat", "on"])))
    print(f"sat on ... {words.classes[probs.argmax()]} ({probs.max():.0%})")


if __name__ == "__main__":
    main()
