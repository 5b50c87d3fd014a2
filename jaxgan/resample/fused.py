"""Resampling by two, and its exact fusion with convolutions: less arithmetic, the same numbers.

Averaging 2x2 blocks after a k x k convolution is one (k+1) x (k+1) convolution of stride 2, and
repeating pixels before a k x k convolution is four ((k+1)/2) x ((k+1)/2) ones, one for each phase
of the output. For k = 3 both need 16/36 of the multiplications. (The first: Karras et al., "A
Style-Based Generator Architecture", 2019, fuses so at high resolutions; the second: Shi et al., "Is
the deconvolution layer the same as a convolutional layer?", 2016, read from right to left.)

Both are derivatives of one trilinear form of an image x, a kernel K of even size and a half-size
image y,

    t(x, K, y) = sum_{b,i,j,m,n,c,o} x[b, 2i+m-p, 2j+n-q, c] K[m, n, c, o] y[b, i, j, o],

p and q such that the padding is equal on both sides: by y the strided convolution, by x its
transpose, by K the kernel's gradient. Each one's gradients are the other two, so every order of
reverse-mode derivative, a gradient penalty's included, takes the fast form of each. On XLA's CPU
backend the convolutions that automatic differentiation writes instead are up to three times slower
(a dilated input) or tens of times (the backward pass of a 2x2 kernel).

`conv` is the plain convolution by the same means, for the sake of its gradient on a CPU.

`jax.grad` of any order, `jax.vmap` and `jax.checkpoint` go through these convolutions; `jax.jvp`
and `jax.jacfwd` do not (a custom VJP has no forward mode).
"""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np

_LAYOUT = ("NHWC", "HWIO", "NHWC")

# Images [32, 32, 32, 256] are 32 MiB. A 3x3 kernel's gradient of them takes, on two server cores, 205 ms whole, 155 in
# parts of 8 MiB and 140 of 4 on JAX 0.10; 330, 150 and 160 on 0.12.
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

    XLA's CPU backend finds a kernel's gradient by one convolution of the whole batch, which slows
    down, in JAX 0.12 to half its speed, when that outgrows the cache: there it is a sum over parts
    of the batch. A 1x1 kernel is a matrix product, whose gradient is several times as fast, and so
    on a CPU is a kernel with few outputs.

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
      (2019), which fuses so at high resolutions.

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
    sum_{a,b in {0,1}} k[m-a, n-b], k being the kernel turned by 180 degrees with its channels
    exchanged; a 1x1 kernel is applied before upsampling.

    Args:
      x: images [B, H, W, C].
      kernel: [kh, kw, C, O] of odd size, of any type, as for `conv_avg_pool`.
      bias: [O] or None.

    Returns:
      [B, 2H, 2W, O] in the type of `x`.

    Source: Shi et al., Is the deconvolution layer the same as a convolutional layer? (2016), read
      from right to left.

    >>> x, kernel = jnp.ones((1, 1, 1, 1)), jnp.ones((3, 3, 1, 1))
    >>> upsample_conv(x, kernel)[0, :, :, 0].tolist()
    [[4.0, 4.0], [4.0, 4.0]]
    """
    _image_shape(x, "upsample_conv")
    _check_kernel(x, kernel, "upsample_conv")
    if kernel.shape[:2] == (1, 1):
        return upsample_nearest(conv(x, kernel, bias))
    return _add_bias(_up(x, _turn(_spread(kernel)).astype(x.dtype)), bias)


def conv_transpose(x: jax.Array, kernel: jax.Array, bias: jax.Array | None = None) -> jax.Array:
    """The transposed convolution of stride 2 as `flax.linen.ConvTranspose` has it, as four small convolutions.

    Same numbers as `jax.lax.conv_transpose(x, kernel, (2, 2), "SAME")`: the kernel is not turned. DCGAN's is 4x4.

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
    if (
        kernel.ndim != 4
        or kernel.shape[2] != x.shape[3]
        or kernel.shape[0] % 2
        or kernel.shape[1] % 2
    ):
        raise ValueError(
            f"conv_transpose takes a kernel [kh, kw, {x.shape[3]}, O] of even size for images of {x.shape[3]} channels;"
            f" got one of shape {kernel.shape}."
        )
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


# The plain convolution. Its gradient by x is itself with the kernel turned.


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
    """The gradient [*size, C, O] by the kernel of `convolve(x, kernel)`, whose own is y."""
    kernel = jax.ShapeDtypeStruct((*size, x.shape[-1], y.shape[-1]), x.dtype)
    return jax.linear_transpose(lambda k: convolve(x, k), kernel)(y)[0]


def _by_kernel_in_parts(convolve, size, x, y):
    """`_by_kernel` as a sum over parts of the batch."""
    # Computed before they are used: XLA moves them, channels first, and would compute them again on the way, element
    # by element. Batch normalisation's gradient so took 15 % of a generator's turn.
    x, y = jax.lax.optimization_barrier((x, y))
    n = _parts(x)
    parts = zip(_split(x, n), _split(y, n), strict=True)
    gradients = [_by_kernel(convolve, size, *part) for part in parts]
    # A reduction and no chain of additions, which XLA would repeat for each use: three times in Adam.
    return gradients[0] if n == 1 else jnp.sum(jnp.stack(gradients), axis=0)


def _strided_conv_in_parts(x, kernel):
    """`_strided_conv` of parts of the batch: 44 ms in place of 70 for the 32 MiB above, on JAX 0.10."""
    parts = [_strided_conv(part, kernel) for part in _split(x, _parts(x))]
    return jnp.stack(parts, axis=1).reshape(-1, *parts[0].shape[1:])


def _parts(x) -> int:
    """The least number of equal parts of the batch of at most `_PART_BYTES` each, or of one image."""
    batch, size = x.shape[0], x.size * x.dtype.itemsize
    least = max(1, -(-size // _PART_BYTES))
    return next((n for n in range(least, batch) if batch % n == 0), max(1, batch))


def _split(x, n: int) -> list[jax.Array]:
    """The batch in n parts; part i has rows i, i + n, ...: of a sharded batch they stay where they are."""
    x = x.reshape(-1, n, *x.shape[1:])
    return [x[:, i] for i in range(n)]


def _turn(kernel):
    """The kernel of the transpose: by 180 degrees, channels exchanged."""
    return kernel[::-1, ::-1].swapaxes(2, 3)


def _plain_conv(x, kernel):
    return _conv(x, kernel, padding=[(n // 2, n // 2) for n in kernel.shape[:2]])


def _is_thin(h: int, w: int, channels: int, features: int) -> bool:
    """Whether all of a kernel's taps have no more outputs together than it has inputs: to pictures, mostly."""
    return h * w * features <= channels


def _thin_conv(x, kernel):
    """`_plain_conv` as one matrix product for all taps, and their sum: less to read for a kernel that is thin.

    Up to ten times faster on XLA's CPU backend, values and kernel's gradient.
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
    """`_transposed_conv` as four convolutions, one for the even and odd rows and columns of x each."""
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
    """Along one axis, for x[0::2] and x[1::2]: the taps of K that meet it, and its padding.

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
    # A window, whose gradient is one too: XLA would repeat a sum of slices for each of its uses.
    zero, edges = np.zeros((), kernel.dtype), ((1, 1), (1, 1), (0, 0), (0, 0))
    return jax.lax.reduce_window(kernel, zero, jax.lax.add, (2, 2, 1, 1), (1, 1, 1, 1), edges)


def _add_bias(y, bias):
    return y if bias is None else y + bias.astype(y.dtype).reshape(1, 1, 1, -1)


def _image_shape(x, name: str) -> tuple[int, int, int, int]:
    if x.ndim != 4:
        raise ValueError(f"{name} takes images [B, H, W, C]; got an array of shape {x.shape}.")
    return x.shape


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
