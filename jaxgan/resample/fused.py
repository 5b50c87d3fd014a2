"""Resampling by two, and its exact fusion with convolutions: fewer multiplications, the same results.

Averaging 2x2 blocks after a k x k convolution is one (k+1) x (k+1) convolution of stride 2, and
repeating pixels before a k x k convolution is four ((k+1)/2) x ((k+1)/2) ones, one for each phase
of the output. For k = 3 both need 16/36 of the multiplications. (Karras et al., "A Style-Based
Generator Architecture", 2019, use the first at high resolutions; the second is the converse of Shi et al.,
"Is the deconvolution layer the same as a convolutional layer?", 2016.)

Both are derivatives of one trilinear form of an image x, a kernel K of even size and a half-size
image y,

    t(x, K, y) = sum_{b,i,j,m,n,c,o} x[b, 2i+m-p, 2j+n-q, c] K[m, n, c, o] y[b, i, j, o],

with p and q such that the padding is equal on both sides. The derivative with respect to y is the strided
convolution, that with respect to x its transpose, and that with respect to K the kernel's gradient. The
gradients of each are the other two, so reverse-mode derivatives of every order, including gradient
penalties, use the fast forms. On XLA's CPU backend the convolutions of automatic differentiation are up to
three times slower (a dilated input) or tens of times slower (the backward pass of a 2x2 kernel).

`conv` is the plain convolution with the same technique, for a faster gradient on a CPU; `conv_halving` and
`conv_transpose` are the first and the second derivative for a kernel K of one's own.

`jax.grad` of any order, `jax.vmap` and `jax.checkpoint` are supported; `jax.jvp` and `jax.jacfwd` are not
(a custom VJP has no forward mode).
"""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np

_LAYOUT = ("NHWC", "HWIO", "NHWC")

# For images [32, 32, 32, 256] (32 MiB) on two server cores, the gradient of a 3x3 kernel takes 205 ms at once, 155 in
# parts of 8 MiB and 140 in parts of 4 MiB with JAX 0.10; 330, 150 and 160 ms with 0.12.
_PART_BYTES = 2**22


def avg_pool(x: jax.Array) -> jax.Array:
    """Average of every 2x2 block: [B, H, W, C] -> [B, H/2, W/2, C].

    >>> avg_pool(jnp.arange(4.0).reshape(1, 2, 2, 1)).item()
    1.5
    """
    b, h, w, c = _image_shape(x, "avg_pool")
    if h % 2 or w % 2:
        raise ValueError(
            f"avg_pool halves height and width, so both must be even; got {h}x{w}. "
            "Pad or resize the images first."
        )
    return x.reshape(b, h // 2, 2, w // 2, 2, c).mean(axis=(2, 4))


def upsample_nearest(x: jax.Array) -> jax.Array:
    """Every pixel repeated 2x2: [B, H, W, C] -> [B, 2H, 2W, C].

    >>> upsample_nearest(jnp.arange(2.0).reshape(1, 1, 2, 1))[0, :, :, 0].tolist()
    [[0.0, 0.0, 1.0, 1.0], [0.0, 0.0, 1.0, 1.0]]
    """
    b, h, w, c = _image_shape(x, "upsample_nearest")
    x = jnp.broadcast_to(x[:, :, None, :, None, :], (b, h, 2, w, 2, c))
    return x.reshape(b, 2 * h, 2 * w, c)


def conv(x: jax.Array, kernel: jax.Array, bias: jax.Array | None = None) -> jax.Array:
    """The plain convolution of stride 1 with zero "SAME" padding, with a faster gradient on a CPU.

    XLA's CPU backend computes a kernel's gradient as one convolution of the whole batch, which is slow (in JAX
    0.12 half as fast) if the batch exceeds the cache. Here the gradient is a sum over parts of the batch on a
    CPU. For a 1x1 kernel, and on a CPU for a kernel with few outputs, the convolution is a matrix product,
    whose gradient is several times as fast.

    Args:
      x: images [B, H, W, C].
      kernel: [kh, kw, C, O] of odd size, of any type; it is cast to the type of `x`.
      bias: [O] or None.

    Returns:
      [B, H, W, O] in the type of `x`.

    >>> x, kernel = jnp.ones((1, 3, 3, 1)), jnp.ones((3, 3, 1, 1))
    >>> conv(x, kernel)[0, :, :, 0].tolist()
    [[4.0, 6.0, 4.0], [6.0, 9.0, 6.0], [4.0, 6.0, 4.0]]
    """
    _image_shape(x, "conv")
    _check_kernel(x, kernel, "conv")
    kernel = kernel.astype(x.dtype)
    if kernel.shape[:2] == (1, 1):
        y = jax.lax.dot_general(x, kernel[0, 0], (((3,), (0,)), ((), ())))
    else:
        y = _same(x, kernel)
    return _add_bias(y, bias)


def conv_avg_pool(x: jax.Array, kernel: jax.Array, bias: jax.Array | None = None) -> jax.Array:
    """`avg_pool(conv(x, kernel) + bias)` with zero "SAME" padding, as one convolution of stride 2.

    Its kernel is K[m, n] = 1/4 sum_{a,b in {0,1}} kernel[m-a, n-b]; a 1x1 kernel is applied after
    pooling.

    Args:
      x: images [B, H, W, C]; H and W even.
      kernel: [kh, kw, C, O] of odd size, of any type: K is summed in float32 (or the kernel's own
        type if that is wider) and then cast to the type of `x`.
      bias: [O] or None.

    Returns:
      [B, H/2, W/2, O] in the type of `x`.

    Source: Karras et al., A Style-Based Generator Architecture for Generative Adversarial Networks
      (2019), which uses it at high resolutions.

    >>> x, kernel = jnp.ones((1, 2, 2, 1)), jnp.ones((3, 3, 1, 1))
    >>> conv_avg_pool(x, kernel).item()  # of four 4s
    4.0
    """
    _, h, w, _ = _image_shape(x, "conv_avg_pool")
    _check_kernel(x, kernel, "conv_avg_pool")
    if h % 2 or w % 2:
        raise ValueError(
            f"conv_avg_pool halves height and width, so both must be even; got {h}x{w}. "
            "Pad or resize the images first."
        )
    if kernel.shape[:2] == (1, 1):
        return conv(avg_pool(x), kernel, bias)
    return _add_bias(_down(x, (_spread(kernel) / 4).astype(x.dtype)), bias)


def upsample_conv(x: jax.Array, kernel: jax.Array, bias: jax.Array | None = None) -> jax.Array:
    """`conv(upsample_nearest(x), kernel) + bias`, zero "SAME" padding, as four small convolutions.

    They are the transpose of a convolution of stride 2 whose kernel is K[m, n] =
    sum_{a,b in {0,1}} k[m-a, n-b], where k is the kernel rotated by 180 degrees with its channel axes
    exchanged; a 1x1 kernel is applied before upsampling.

    Args:
      x: images [B, H, W, C].
      kernel: [kh, kw, C, O] of odd size, of any type, as for `conv_avg_pool`.
      bias: [O] or None.

    Returns:
      [B, 2H, 2W, O] in the type of `x`.

    Source: Shi et al., Is the deconvolution layer the same as a convolutional layer? (2016), the
      converse.

    >>> x, kernel = jnp.ones((1, 1, 1, 1)), jnp.ones((3, 3, 1, 1))
    >>> upsample_conv(x, kernel)[0, :, :, 0].tolist()
    [[4.0, 4.0], [4.0, 4.0]]
    """
    _image_shape(x, "upsample_conv")
    _check_kernel(x, kernel, "upsample_conv")
    if kernel.shape[:2] == (1, 1):
        return upsample_nearest(conv(x, kernel, bias))
    return _add_bias(_up(x, _turn(_spread(kernel)).astype(x.dtype)), bias)


def conv_halving(x: jax.Array, kernel: jax.Array, bias: jax.Array | None = None) -> jax.Array:
    """The convolution of stride 2 with an even kernel and zero padding of k/2 - 1, with faster gradients on a CPU.

    A 4x4 kernel is padded by one pixel on each side. For even sides that is "SAME" padding. The gradients of
    automatic differentiation are dilated convolutions, which XLA's CPU backend computes several times more slowly
    than the ones used here; they are used for odd sides.

    Args:
      x: images [B, H, W, C].
      kernel: [kh, kw, C, O] of even size, of any type; it is cast to the type of `x`.
      bias: [O] or None.

    Returns:
      [B, floor(H/2), floor(W/2), O] in the type of `x`.

    >>> x, kernel = jnp.ones((1, 4, 4, 1)), jnp.ones((4, 4, 1, 1))
    >>> conv_halving(x, kernel)[0, :, :, 0].tolist()
    [[9.0, 9.0], [9.0, 9.0]]
    """
    _, h, w, _ = _image_shape(x, "conv_halving")
    _check_even_kernel(x, kernel, "conv_halving")
    kernel = kernel.astype(x.dtype)
    odd = h % 2 or w % 2
    return _add_bias(_strided_conv(x, kernel) if odd else _down(x, kernel), bias)


def conv_transpose(x: jax.Array, kernel: jax.Array, bias: jax.Array | None = None) -> jax.Array:
    """The transposed convolution of stride 2 of `flax.linen.ConvTranspose`, as four small convolutions.

    It equals `jax.lax.conv_transpose(x, kernel, (2, 2), "SAME")`; the kernel is not rotated. DCGAN's kernel is 4x4.

    Args:
      x: images [B, H, W, C].
      kernel: [kh, kw, C, O] of even size.
      bias: [O] or None.

    Returns:
      [B, 2H, 2W, O] in the type of `x`.

    >>> x, kernel = jnp.ones((1, 1, 1, 1)), jnp.arange(4.0).reshape(2, 2, 1, 1)
    >>> conv_transpose(x, kernel)[0, :, :, 0].tolist()
    [[3.0, 2.0], [1.0, 0.0]]
    """
    _image_shape(x, "conv_transpose")
    _check_even_kernel(x, kernel, "conv_transpose")
    return _add_bias(_up(x, _turn(kernel).astype(x.dtype)), bias)


# The three partial derivatives of t(x, K, y). The gradients of each are the other two.


@jax.custom_vjp
def _down(x, kernel):
    """dt/dy, the strided convolution: [B, 2h, 2w, C], [m, n, C, O] -> [B, h, w, O]."""
    return jax.lax.platform_dependent(x, kernel, cpu=_strided_conv_in_parts, default=_strided_conv)


@jax.custom_vjp
def _up(y, kernel):
    """dt/dx, its transpose: [B, h, w, O], [m, n, C, O] -> [B, 2h, 2w, C]."""
    return jax.lax.platform_dependent(y, kernel, cpu=_up_by_phase, default=_transposed_conv)


@partial(jax.custom_vjp, nondiff_argnums=(2,))
def _kernel_gradient(x, y, size):
    """dt/dK: [B, 2h, 2w, C], [B, h, w, O] -> [*size, C, O]."""
    return jax.lax.platform_dependent(
        x,
        y,
        cpu=partial(_by_kernel_in_parts, _strided_conv, size),
        default=partial(_by_kernel, _strided_conv, size),
    )


def _down_bwd(residuals, y):
    x, kernel = residuals
    return _up(y, kernel), _kernel_gradient(x, y, kernel.shape[:2])


def _up_bwd(residuals, x):
    y, kernel = residuals
    return _down(x, kernel), _kernel_gradient(x, y, kernel.shape[:2])


def _kernel_gradient_bwd(size, residuals, kernel):
    del size  # the cotangent has it
    x, y = residuals
    return _up(y, kernel), _down(x, kernel)


_down.defvjp(lambda x, kernel: (_down(x, kernel), (x, kernel)), _down_bwd)
_up.defvjp(lambda y, kernel: (_up(y, kernel), (y, kernel)), _up_bwd)
_kernel_gradient.defvjp(
    lambda x, y, size: (_kernel_gradient(x, y, size), (x, y)), _kernel_gradient_bwd
)


# The plain convolution. Its gradient with respect to x is itself with the rotated kernel.


@jax.custom_vjp
def _same(x, kernel):
    """The convolution of `conv`: [B, H, W, C], [k, l, C, O] -> [B, H, W, O]."""
    on_cpu = _thin_conv if _is_thin(*kernel.shape) else _plain_conv
    return jax.lax.platform_dependent(x, kernel, cpu=on_cpu, default=_plain_conv)


@partial(jax.custom_vjp, nondiff_argnums=(2,))
def _same_kernel_gradient(x, y, size):
    """Its kernel's gradient: [B, H, W, C], [B, H, W, O] -> [*size, C, O]."""
    if _is_thin(size[0], size[1], x.shape[-1], y.shape[-1]):
        on_cpu = partial(_by_kernel, _thin_conv, size)
    else:
        on_cpu = partial(_by_kernel_in_parts, _plain_conv, size)
    return jax.lax.platform_dependent(
        x, y, cpu=on_cpu, default=partial(_by_kernel, _plain_conv, size)
    )


def _same_bwd(residuals, y):
    x, kernel = residuals
    return _same(y, _turn(kernel)), _same_kernel_gradient(x, y, kernel.shape[:2])


def _same_kernel_gradient_bwd(size, residuals, kernel):
    del size  # the cotangent has it
    x, y = residuals
    return _same(y, _turn(kernel)), _same(x, kernel)


_same.defvjp(lambda x, kernel: (_same(x, kernel), (x, kernel)), _same_bwd)
_same_kernel_gradient.defvjp(
    lambda x, y, size: (_same_kernel_gradient(x, y, size), (x, y)), _same_kernel_gradient_bwd
)


def _by_kernel(convolve, size, x, y):
    """The gradient [*size, C, O] with respect to the kernel of `convolve(x, kernel)`, given its cotangent y."""
    kernel = jax.ShapeDtypeStruct((*size, x.shape[-1], y.shape[-1]), x.dtype)
    return jax.linear_transpose(lambda k: convolve(x, k), kernel)(y)[0]


def _by_kernel_in_parts(convolve, size, x, y):
    """`_by_kernel` as a sum over parts of the batch."""
    # The barrier prevents that XLA recomputes x and y elementwise while it transposes them to channels first. Without
    # it, the gradient of batch normalisation took 15 % of a generator's turn.
    x, y = jax.lax.optimization_barrier((x, y))
    n = _parts(x)
    parts = zip(_split(x, n), _split(y, n), strict=True)
    gradients = [_by_kernel(convolve, size, *part) for part in parts]
    # A reduction, because XLA would repeat a chain of additions for each use: three times in Adam.
    return gradients[0] if n == 1 else jnp.sum(jnp.stack(gradients), axis=0)


def _strided_conv_in_parts(x, kernel):
    """`_strided_conv` of parts of the batch: 44 ms instead of 70 for the 32 MiB above, with JAX 0.10."""
    parts = [_strided_conv(part, kernel) for part in _split(x, _parts(x))]
    return jnp.stack(parts, axis=1).reshape(-1, *parts[0].shape[1:])


def _parts(x) -> int:
    """The smallest number of equal parts of the batch with at most `_PART_BYTES` each, or with one image."""
    batch, size = x.shape[0], x.size * x.dtype.itemsize
    least = max(1, -(-size // _PART_BYTES))
    return next((n for n in range(least, batch) if batch % n == 0), max(1, batch))


def _split(x, n: int) -> list[jax.Array]:
    """The batch in n parts; part i has rows i, i + n, ..., so that rows of a sharded batch stay on their device."""
    x = x.reshape(-1, n, *x.shape[1:])
    return [x[:, i] for i in range(n)]


def _turn(kernel):
    """The kernel of the transpose: rotated by 180 degrees, with exchanged channel axes."""
    return kernel[::-1, ::-1].swapaxes(2, 3)


def _plain_conv(x, kernel):
    return _conv(x, kernel, padding=[(n // 2, n // 2) for n in kernel.shape[:2]])


def _is_thin(h: int, w: int, channels: int, features: int) -> bool:
    """Whether taps times outputs are at most the number of inputs, as in most convolutions to pictures."""
    return h * w * features <= channels


def _thin_conv(x, kernel):
    """`_plain_conv` as one matrix product for all taps, then their sum, which reads less memory for a thin kernel.

    It is up to ten times faster on XLA's CPU backend, for values and for the kernel's gradient.
    """
    h, w = kernel.shape[:2]
    taps = jax.lax.dot_general(x, kernel.transpose(2, 0, 1, 3), (((3,), (0,)), ((), ())))
    p, q = h // 2, w // 2
    taps = jnp.pad(taps, ((0, 0), (p, p), (q, q), (0, 0), (0, 0), (0, 0)))
    height, width = x.shape[1:3]
    return sum(taps[:, m : m + height, n : n + width, m, n] for m in range(h) for n in range(w))


def _strided_conv(x, kernel):
    return _conv(x, kernel, padding=[(n // 2 - 1, n // 2 - 1) for n in kernel.shape[:2]], stride=2)


def _transposed_conv(y, kernel):
    b, h, w, _ = y.shape
    x = jax.ShapeDtypeStruct((b, 2 * h, 2 * w, kernel.shape[2]), y.dtype)
    return jax.linear_transpose(lambda x: _strided_conv(x, kernel), x)(y)[0]


def _up_by_phase(y, kernel):
    """`_transposed_conv` as four convolutions, one for each combination of even or odd rows and columns of x."""
    b, h, w, _ = y.shape
    turned = kernel.swapaxes(2, 3)
    rows = []
    for _, taps_h, pad_h in _phases(kernel.shape[0]):
        columns = [
            _conv(y, turned[taps_h, taps_w][::-1, ::-1], padding=(pad_h[::-1], pad_w[::-1]))
            for _, taps_w, pad_w in _phases(kernel.shape[1])
        ]
        rows.append(jnp.stack(columns, axis=3))
    return jnp.stack(rows, axis=2).reshape(b, 2 * h, 2 * w, kernel.shape[2])


def _phases(size: int) -> list[tuple[int, slice, tuple[int, int]]]:
    """Along one axis, for x[0::2] and x[1::2]: the offset, the taps of K that it uses, and its padding.

    Tap t meets pixel 2i + t - p at i, p = size/2 - 1: pixel 2j + offset at i = j - (t - p - offset)/2.
    """
    p = size // 2 - 1
    phases = []
    for offset in range(2):
        first = (offset + p) % 2
        before = (offset + p - first) // 2
        phases.append((offset, slice(first, None, 2), (before, p - before)))
    return phases


def _conv(x, kernel, padding, stride=1):
    return jax.lax.conv_general_dilated(
        x, kernel, (stride, stride), padding, dimension_numbers=_LAYOUT
    )


def _spread(kernel):
    """Sum of the kernel's four shifts: [k, l, C, O] -> [k+1, l+1, C, O], float32 or wider."""
    if kernel.dtype.itemsize < 4:
        kernel = kernel.astype(jnp.float32)
    # A window sum, whose gradient is a window sum too: XLA would repeat a sum of slices for each use.
    zero, edges = np.zeros((), kernel.dtype), ((1, 1), (1, 1), (0, 0), (0, 0))
    return jax.lax.reduce_window(kernel, zero, jax.lax.add, (2, 2, 1, 1), (1, 1, 1, 1), edges)


def _add_bias(y, bias):
    return y if bias is None else y + bias.astype(y.dtype).reshape(1, 1, 1, -1)


def _image_shape(x, name: str) -> tuple[int, int, int, int]:
    if x.ndim != 4:
        raise ValueError(f"{name} takes images [B, H, W, C]; got an array of shape {x.shape}.")
    return x.shape


def _check_even_kernel(x, kernel, name: str):
    if kernel.ndim != 4 or kernel.shape[2] != x.shape[3] or any(n % 2 for n in kernel.shape[:2]):
        raise ValueError(
            f"{name} takes a kernel [kh, kw, {x.shape[3]}, O] of even size for images of {x.shape[3]} channels;"
            f" got one of shape {kernel.shape}."
        )


def _check_kernel(x, kernel, name: str):
    if kernel.ndim != 4 or kernel.shape[2] != x.shape[3]:
        raise ValueError(
            f"{name} takes a kernel [kh, kw, {x.shape[3]}, O] for images of {x.shape[3]} channels; "
            f"got one of shape {kernel.shape}."
        )
    if kernel.shape[0] % 2 == 0 or kernel.shape[1] % 2 == 0:
        raise ValueError(
            f"{name} is exact for kernels of odd size only; got "
            f"{kernel.shape[0]}x{kernel.shape[1]}. Use 3x3, say, or resample separately."
        )
