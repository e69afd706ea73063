// Every kernel, as one translation unit.
#include "attention.cuh"
#include "integers.cuh"
#include "linear.cuh"
#include "logits.cuh"
#include "rows.cuh"
