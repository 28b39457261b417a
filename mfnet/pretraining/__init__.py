"""How the packaged weights are made: training on people and motion whose answer is known."""
