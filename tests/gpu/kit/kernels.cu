// Kernels of known length: each runs until the card's own clock says that `ns` nanoseconds have passed since it began,
// so that no calibration drifts with the card's clocks. Of `out`: [0] and [1] are begin and end on the card's clock, [2]
// counts the loops that one thread has done since the memory was cleared. That tells how much of the card a process
// really had when it shared it; time does not, as a kernel that waits for its turn still ends by the clock.
//
// Compiled beforehand, as the machine that has a card need not have a compiler: tests/gpu/compile-kernels writes
// kernels.ptx with NVRTC and notes in it which text it was made of. Plain CUDA C++, no header.

typedef unsigned long long u64;

__device__ __forceinline__ u64 now() {
  u64 t;
  asm volatile("mov.u64 %0, %%globaltimer;" : "=l"(t));
  return t;
}

__device__ __forceinline__ void note(u64 *out, u64 begun, u64 loops) {
  if (blockIdx.x == 0 && threadIdx.x == 0) {
    out[0] = begun;
    out[1] = now();
    out[2] += loops;
  }
}

// One warp that waits: the card counts as busy and draws little.
extern "C" __global__ void kit_low(u64 ns, u64 *out) {
  u64 begun = now(), loops = 0;
  while (now() - begun < ns) loops++;
  note(out, begun, loops);
}

// Plain arithmetic on every multiprocessor: middling power.
extern "C" __global__ void kit_mid(u64 ns, u64 *out) {
  u64 begun = now(), loops = 0;
  float factor = 1.0001f, x[4];
  for (int i = 0; i < 4; i++) x[i] = threadIdx.x * 0.37f + i;
  while (now() - begun < ns) {
#pragma unroll 16
    for (int i = 0; i < 256; i++) {
      x[0] = x[0] * factor + 0.1f;
      x[1] = x[1] * factor + 0.2f;
      x[2] = x[2] * factor + 0.3f;
      x[3] = x[3] * factor + 0.4f;
    }
    loops++;
  }
  if (x[0] + x[1] + x[2] + x[3] == 0.123f) out[3] = 1;  // so that the work is not left out
  note(out, begun, loops);
}

// Matrix units on every multiprocessor, operands in registers: high power. The operands are drawn, two halves in a word,
// of magnitudes around one: multiplying zeros would draw less.
extern "C" __global__ void kit_full(u64 ns, u64 *out) {
  u64 begun = now(), loops = 0;
  unsigned operand[6], h = (blockIdx.x * 977u + threadIdx.x) * 2654435761u + 12345u;
  for (int i = 0; i < 6; i++) {
    h = h * 1664525u + 1013904223u;
    float high = (h >> 16) * 3.0e-5f - 1.0f, low = (h & 0xffff) * 3.0e-5f - 1.0f;
    asm("cvt.rn.f16x2.f32 %0, %1, %2;" : "=r"(operand[i]) : "f"(high), "f"(low));
  }
  float sum[4][4] = {};
  while (now() - begun < ns) {
#pragma unroll 4
    for (int i = 0; i < 64; i++) {
#pragma unroll
      for (int k = 0; k < 4; k++)
        asm volatile("mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 {%0,%1,%2,%3},{%4,%5,%6,%7},{%8,%9},{%0,%1,%2,%3};"
                     : "+f"(sum[k][0]), "+f"(sum[k][1]), "+f"(sum[k][2]), "+f"(sum[k][3])
                     : "r"(operand[0]), "r"(operand[1]), "r"(operand[2]), "r"(operand[3]), "r"(operand[4]), "r"(operand[5]));
    }
    loops++;
  }
  float all = 0;
  for (int k = 0; k < 4; k++)
    for (int j = 0; j < 4; j++) all += sum[k][j];
  if (all == 0.123f) out[3] = 1;
  note(out, begun, loops);
}
