"""[3] The optimizer's part: a block of classes is stepped as soon as its gradient is complete."""

NAMES = ("classifier", "bias")


def start(problem):
    """Begin a step of the classifier, and of the bias if there is one."""
    for name, parameter in zip(NAMES, problem.parameters, strict=True):
        if parameter is not None:
            problem.optimizer.start(name, parameter)


def step(problem, classes, gradients):
    """Step a slice of the classes, given (dclassifier, dbias) of it."""
    for name, parameter, gradient in zip(NAMES, problem.parameters, gradients, strict=True):
        if parameter is not None:
            problem.optimizer.step_part(name, parameter, gradient, classes)
