// SPDX-License-Identifier: Apache-2.0
// What a model's own kernels would do beside copies.

/// Works for so many nanoseconds, then writes a pattern: what a copy that goes too early would miss.
extern "C" __global__ void slowly_fill(unsigned char* to, unsigned long long bytes, unsigned seed, unsigned long long nanoseconds)
{
    unsigned long long begin, now;
    asm volatile("mov.u64 %0, %globaltimer;" : "=l"(begin));
    do {
        asm volatile("mov.u64 %0, %globaltimer;" : "=l"(now));
    } while (now - begin < nanoseconds);
    for (unsigned long long i = blockIdx.x * blockDim.x + threadIdx.x; i < bytes; i += blockDim.x * gridDim.x)
        to[i] = static_cast<unsigned char>(i * 131 + seed);
}

/// What came before it: whether the copy that it waited for landed, and how many bytes are not the pattern.
extern "C" __global__ void look(const unsigned char* at, unsigned long long bytes, unsigned seed, const unsigned* status,
                                unsigned* answer)
{
    if (blockIdx.x == 0 && threadIdx.x == 0) answer[0] = *static_cast<const volatile unsigned*>(status);
    unsigned wrong = 0;
    for (unsigned long long i = blockIdx.x * blockDim.x + threadIdx.x; i < bytes; i += blockDim.x * gridDim.x)
        wrong += at[i] != static_cast<unsigned char>(i * 131 + seed);
    if (wrong) atomicAdd(answer + 1, wrong);
}

/// The end of the context.
extern "C" __global__ void fault() { *reinterpret_cast<volatile int*>(8) = 1; }
