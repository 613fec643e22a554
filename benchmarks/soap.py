"""SOAP: Adam in the eigenbasis of Shampoo's preconditioner, in both frameworks.

A kernel's gradient is taken as a matrix, one row or column for each filter. SOAP keeps
moving averages of the two covariances, of its rows and of its columns, and runs Adam in
the coordinates in which both are diagonal. The eigenvectors are renewed every `EVERY`
steps by one step of the power method and a QR decomposition. Biases get plain Adam.

References
----------
Vyas et al., "SOAP: Improving and Stabilizing Shampoo using Adam", 2024, algorithm 3.
"""

from __future__ import annotations

DECAY = 0.95  # of all moving averages, a step
EVERY = 10
EPSILON = 1e-8


def torch_soap(parameters):
    """A `torch.optim.Optimizer` for `parameters`."""
    import torch

    class Soap(torch.optim.Optimizer):
        def __init__(self, parameters):
            super().__init__(parameters, {"lr": 1e-3})

        @torch.no_grad()
        def step(self):
            for group in self.param_groups:
                for p in group["params"]:
                    self.update(p, group["lr"], self.state[p])

        def update(self, p, rate, state):
            kernel = p.ndim > 1
            gradient = p.grad.flatten(1) if kernel else p.grad
            if not state:  # the first gradient only chooses the basis
                state["step"] = 0
                state["mean"] = torch.zeros_like(gradient)
                state["square"] = torch.zeros_like(gradient)
                if kernel:
                    state["rows"] = gradient @ gradient.T
                    state["columns"] = gradient.T @ gradient
                    for side in ("rows", "columns"):
                        basis = torch.linalg.eigh(state[side])[1]
                        state[f"{side} basis"] = basis.flip(1)  # largest first
                return
            state["step"] += 1
            correction = 1 - DECAY ** state["step"]
            mean, square = state["mean"], state["square"]
            mean.lerp_(gradient, 1 - DECAY)
            update, turned = mean, gradient
            if kernel:
                left, right = state["rows basis"], state["columns basis"]
                update, turned = (left.T @ x @ right for x in (mean, gradient))
            square.lerp_(turned.square(), 1 - DECAY)
            update = update / correction / ((square / correction).sqrt() + EPSILON)
            if kernel:
                update = left @ update @ right.T
            p.sub_(rate * update.view(p.shape))
            if kernel:
                state["rows"].lerp_(gradient @ gradient.T, 1 - DECAY)
                state["columns"].lerp_(gradient.T @ gradient, 1 - DECAY)
                if state["step"] % EVERY == 0:
                    self.renew(state)

        def renew(self, state):
            for axis, side in enumerate(("rows", "columns")):
                covariance, basis = state[side], state[f"{side} basis"]
                moved = covariance @ basis
                order = (basis * moved).sum(0).argsort(descending=True)
                state["square"] = state["square"].index_select(axis, order)
                state[f"{side} basis"] = torch.linalg.qr(moved[:, order])[0]

    return Soap(parameters)


def keras_soap():
    """A `keras.optimizers.Optimizer`, for the backend TensorFlow."""
    import keras
    import tensorflow as tf

    class Soap(keras.optimizers.Optimizer):
        def __init__(self):
            super().__init__(learning_rate=1e-3, name="soap")

        def build(self, variables):
            if self.built:
                return
            super().build(variables)
            self.states = []
            for variable in variables:
                shape = tuple(variable.shape)
                if len(shape) > 1:  # a kernel: (height, width, channels) × filters
                    shape = (shape[0] * shape[1] * shape[2], shape[3])
                shapes = {"mean": shape, "square": shape}
                if len(shape) > 1:
                    for side, size in zip(("rows", "columns"), shape, strict=True):
                        shapes[side] = shapes[f"{side} basis"] = (size, size)
                state = {
                    name: self.add_variable(
                        s, name=f"{variable.name}_{name}".replace(" ", "_")
                    )
                    for name, s in shapes.items()
                }
                self.states.append(state)

        def update_step(self, gradient, variable, learning_rate):
            state = self.states[self._get_variable_index(variable)]
            step = tf.cast(self.iterations, tf.float32)  # 0 at the first gradient
            matrix = tf.reshape(gradient, state["mean"].shape)
            kernel = "rows" in state

            def first():  # the first gradient only chooses the basis
                if kernel:
                    rows = matrix @ tf.transpose(matrix)
                    columns = tf.transpose(matrix) @ matrix
                    for side, value in (("rows", rows), ("columns", columns)):
                        state[side].assign(value)
                        basis = tf.reverse(tf.linalg.eigh(value)[1], [1])
                        state[f"{side} basis"].assign(basis)
                return tf.constant(0)

            def later():
                self.later(state, matrix, variable, learning_rate, step, kernel)
                return tf.constant(0)

            tf.cond(step < 1, first, later)

        def later(self, state, gradient, variable, rate, step, kernel):
            def average(name, new):
                state[name].assign(DECAY * state[name].value + (1 - DECAY) * new)
                return state[name].value

            correction = 1 - DECAY**step
            update, turned = average("mean", gradient), gradient
            if kernel:
                left = state["rows basis"].value
                right = state["columns basis"].value
                update, turned = (
                    tf.transpose(left) @ x @ right for x in (update, gradient)
                )
            square = average("square", tf.square(turned))
            update = update / correction / (tf.sqrt(square / correction) + EPSILON)
            if kernel:
                update = left @ update @ tf.transpose(right)
            variable.assign_sub(rate * tf.reshape(update, variable.shape))
            if kernel:
                average("rows", gradient @ tf.transpose(gradient))
                average("columns", tf.transpose(gradient) @ gradient)
                due = tf.equal(self.iterations % EVERY, 0)
                tf.cond(due, lambda: self.renew(state), lambda: tf.constant(0))

        def renew(self, state):
            for axis, side in enumerate(("rows", "columns")):
                basis = state[f"{side} basis"].value
                moved = state[side].value @ basis
                order = tf.argsort(
                    tf.reduce_sum(basis * moved, 0), direction="DESCENDING"
                )
                square = tf.gather(state["square"].value, order, axis=axis)
                state["square"].assign(square)
                basis = tf.linalg.qr(tf.gather(moved, order, axis=1))[0]
                state[f"{side} basis"].assign(basis)
            return tf.constant(0)

    return Soap()
