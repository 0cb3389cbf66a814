"""Speed and memory, measured from outside: whole processes, and the networks beside eager PyTorch."""
