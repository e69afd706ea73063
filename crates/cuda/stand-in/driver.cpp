// A CUDA driver and cuBLASLt for machines without a GPU: the calls that the program makes, on host
// memory, with the kernels compiled for the CPU. Loaded in place of the real libraries it runs the
// program unchanged. It is for tests: slow, and strict where the real ones are lenient.
//
// Work on a stream is done when somebody waits for the stream, so that a buffer that is read or
// changed too early shows. Fresh memory holds NaN. What is written behind an allocation ends the
// program when it is freed. What may not be done during a capture is refused.
#include "threads.h"

#include <stdio.h>
#include <stdlib.h>
#include <algorithm>
#include <functional>
#include <map>
#include <mutex>
#include <vector>

namespace {

enum Result {
    SUCCESS = 0,
    INVALID_VALUE = 1,
    OUT_OF_MEMORY = 2,
    INVALID_DEVICE = 101,
    NOT_FOUND = 500,
    CAPTURE_UNSUPPORTED = 900,
};

typedef uint64_t Pointer;
typedef std::function<void()> Work;

struct Graph { std::vector<Work> work; };
struct Stream {
    std::vector<Work> queue;
    Graph* capture = nullptr;
};

const size_t GUARD_BYTES = 512;
const unsigned char GUARD = 0xa5;

std::recursive_mutex mutex;
// Never destroyed: a thread may give memory back while the program ends.
std::map<Pointer, size_t>& allocations = *new std::map<Pointer, size_t>;
size_t allocated;
std::vector<Stream*>& streams = *new std::vector<Stream*>;

size_t total_memory() {
    const char* text = getenv("STAND_IN_MEMORY");
    return text ? strtoull(text, nullptr, 10) : size_t(4) << 30;
}

// As two digits, the compute capability that the device claims to have.
int capability() {
    const char* text = getenv("STAND_IN_COMPUTE_CAP");
    return text ? atoi(text) : 90;
}

bool is_capturing() {
    for (Stream* stream : streams)
        if (stream->capture) return true;
    return false;
}

void finish(Stream* stream) {
    std::vector<Work> queue;
    queue.swap(stream->queue);
    for (Work& work : queue) work();
}

void finish_all() {
    for (Stream* stream : streams) finish(stream);
}

void enqueue(Stream* stream, Work work) {
    (stream->capture ? stream->capture->work : stream->queue).push_back(std::move(work));
}

unsigned char* at(Pointer pointer) { return reinterpret_cast<unsigned char*>(pointer); }

// Whether all of it lies in one allocation.
bool is_device(Pointer pointer, size_t bytes) {
    auto next = allocations.upper_bound(pointer);
    if (next == allocations.begin()) return false;
    auto found = std::prev(next);
    return pointer + bytes <= found->first + found->second;
}

}  // namespace

#define LOCK std::lock_guard<std::recursive_mutex> lock(mutex)
#define NOT_IN_CAPTURE                                                                           \
    if (is_capturing()) return CAPTURE_UNSUPPORTED

extern "C" {

int cuInit(unsigned) { return SUCCESS; }
int cuDriverGetVersion(int* version) { *version = 13000; return SUCCESS; }
int cuDeviceGetCount(int* count) { *count = 1; return SUCCESS; }
int cuDeviceGet(int* device, int ordinal) {
    *device = ordinal;
    return ordinal == 0 ? SUCCESS : INVALID_DEVICE;
}
int cuDeviceGetName(char* name, int len, int) {
    snprintf(name, size_t(len), "stand-in for a GPU on the CPU");
    return SUCCESS;
}
int cuDeviceGetAttribute(int* value, int attribute, int) {
    switch (attribute) {
        case 16: *value = 4; return SUCCESS;                   // multiprocessors
        case 75: *value = capability() / 10; return SUCCESS;   // compute capability, major
        case 76: *value = capability() % 10; return SUCCESS;   // and minor
        default: return INVALID_VALUE;
    }
}
int cuDeviceTotalMem_v2(size_t* bytes, int) { *bytes = total_memory(); return SUCCESS; }
int cuDevicePrimaryCtxRetain(void** context, int) { *context = &allocations; return SUCCESS; }
int cuDevicePrimaryCtxRelease_v2(int) { return SUCCESS; }
int cuCtxSetCurrent(void*) { return SUCCESS; }

int cuGetErrorString(int error, const char** text) {
    switch (error) {
        case SUCCESS: *text = "no error"; break;
        case INVALID_VALUE: *text = "invalid argument"; break;
        case OUT_OF_MEMORY: *text = "out of memory"; break;
        case INVALID_DEVICE: *text = "invalid device ordinal"; break;
        case NOT_FOUND: *text = "named symbol not found"; break;
        case CAPTURE_UNSUPPORTED: *text = "operation not permitted when stream is capturing"; break;
        default: return INVALID_VALUE;
    }
    return SUCCESS;
}

int cuMemGetInfo_v2(size_t* free_bytes, size_t* total) {
    LOCK;
    *total = total_memory();
    *free_bytes = *total > allocated ? *total - allocated : 0;
    return SUCCESS;
}

int cuMemAlloc_v2(Pointer* pointer, size_t bytes) {
    LOCK;
    NOT_IN_CAPTURE;
    if (bytes == 0) return INVALID_VALUE;
    if (allocated + bytes > total_memory()) return OUT_OF_MEMORY;
    void* memory = aligned_alloc(512, (bytes + GUARD_BYTES + 511) / 512 * 512);
    if (!memory) return OUT_OF_MEMORY;
    memset(memory, 0xff, bytes);
    memset(static_cast<unsigned char*>(memory) + bytes, GUARD, GUARD_BYTES);
    *pointer = reinterpret_cast<Pointer>(memory);
    allocations[*pointer] = bytes;
    allocated += bytes;
    return SUCCESS;
}

int cuMemFree_v2(Pointer pointer) {
    LOCK;
    NOT_IN_CAPTURE;
    finish_all();
    auto found = allocations.find(pointer);
    if (found == allocations.end()) return INVALID_VALUE;
    for (size_t i = 0; i < GUARD_BYTES; i++)
        if (at(pointer)[found->second + i] != GUARD) {
            fprintf(stderr, "stand-in: something wrote behind an allocation\n");
            abort();
        }
    allocated -= found->second;
    allocations.erase(found);
    free(at(pointer));
    return SUCCESS;
}

int cuMemHostAlloc(void** pointer, size_t bytes, unsigned) {
    *pointer = aligned_alloc(512, (bytes + 511) / 512 * 512);
    return *pointer ? SUCCESS : OUT_OF_MEMORY;
}
int cuMemFreeHost(void* pointer) { free(pointer); return SUCCESS; }

int cuMemcpyHtoD_v2(Pointer to, const void* from, size_t bytes) {
    LOCK;
    NOT_IN_CAPTURE;
    if (!is_device(to, bytes)) return INVALID_VALUE;
    memcpy(at(to), from, bytes);
    return SUCCESS;
}
int cuMemcpyHtoDAsync_v2(Pointer to, const void* from, size_t bytes, Stream* stream) {
    LOCK;
    if (!is_device(to, bytes)) return INVALID_VALUE;
    enqueue(stream, [=] { memcpy(at(to), from, bytes); });
    return SUCCESS;
}
int cuMemcpyDtoHAsync_v2(void* to, Pointer from, size_t bytes, Stream* stream) {
    LOCK;
    if (!is_device(from, bytes)) return INVALID_VALUE;
    enqueue(stream, [=] { memcpy(to, at(from), bytes); });
    return SUCCESS;
}
int cuMemcpyDtoDAsync_v2(Pointer to, Pointer from, size_t bytes, Stream* stream) {
    LOCK;
    if (!is_device(to, bytes) || !is_device(from, bytes)) return INVALID_VALUE;
    enqueue(stream, [=] { memcpy(at(to), at(from), bytes); });
    return SUCCESS;
}
int cuMemsetD8Async(Pointer to, unsigned char value, size_t bytes, Stream* stream) {
    LOCK;
    if (!is_device(to, bytes)) return INVALID_VALUE;
    enqueue(stream, [=] { memset(at(to), value, bytes); });
    return SUCCESS;
}

int cuModuleLoadData(void** module, const void*) { *module = &streams; return SUCCESS; }
int cuModuleUnload(void*) { return SUCCESS; }
int cuModuleGetFunction(const stand_in::Kernel** function, void*, const char* name) {
    *function = stand_in::Kernel::find(name);
    return *function ? SUCCESS : NOT_FOUND;
}
int cuFuncGetParamInfo(const stand_in::Kernel* function, size_t index, size_t* offset,
                       size_t* bytes) {
    if (index != 0) return INVALID_VALUE;
    *offset = 0;
    *bytes = function->args_bytes;
    return SUCCESS;
}
int cuLaunchKernel(const stand_in::Kernel* function, unsigned grid_x, unsigned grid_y,
                   unsigned grid_z, unsigned block_x, unsigned block_y, unsigned block_z,
                   unsigned shared_bytes, Stream* stream, void** params, void**) {
    LOCK;
    uint3_t grid = {grid_x, grid_y, grid_z}, block = {block_x, block_y, block_z};
    bool is_empty = !grid_x || !grid_y || !grid_z || !block_x || !block_y || !block_z;
    bool is_large = grid_x > 0x7fffffff || grid_y > 65535 || grid_z > 65535 ||
                    block_x > function->threads_max || shared_bytes > 48 << 10;
    if (is_empty || is_large) return INVALID_VALUE;
    const unsigned char* args = static_cast<const unsigned char*>(params[0]);
    std::vector<unsigned char> copy(args, args + function->args_bytes);
    enqueue(stream, [=] { stand_in::run(*function, grid, block, shared_bytes, copy.data()); });
    return SUCCESS;
}

int cuStreamCreate(Stream** stream, unsigned) {
    LOCK;
    *stream = new Stream;
    streams.push_back(*stream);
    return SUCCESS;
}
int cuStreamDestroy_v2(Stream* stream) {
    LOCK;
    finish(stream);
    for (size_t i = 0; i < streams.size(); i++)
        if (streams[i] == stream) streams.erase(streams.begin() + long(i--));
    delete stream;
    return SUCCESS;
}
int cuStreamSynchronize(Stream* stream) {
    LOCK;
    if (stream->capture) return CAPTURE_UNSUPPORTED;
    finish(stream);
    return SUCCESS;
}
int cuStreamBeginCapture_v2(Stream* stream, int) {
    LOCK;
    NOT_IN_CAPTURE;
    stream->capture = new Graph;
    return SUCCESS;
}
int cuStreamEndCapture(Stream* stream, Graph** graph) {
    LOCK;
    *graph = stream->capture;
    stream->capture = nullptr;
    return *graph ? SUCCESS : INVALID_VALUE;
}
int cuGraphInstantiateWithFlags(Graph** executable, const Graph* graph, unsigned long long) {
    *executable = new Graph(*graph);
    return SUCCESS;
}
int cuGraphDestroy(Graph* graph) { delete graph; return SUCCESS; }
int cuGraphExecDestroy(Graph* executable) {
    LOCK;
    finish_all();
    delete executable;
    return SUCCESS;
}
int cuGraphLaunch(Graph* executable, Stream* stream) {
    LOCK;
    NOT_IN_CAPTURE;
    for (const Work& work : executable->work) stream->queue.push_back(work);
    return SUCCESS;
}

// ---- cuBLASLt ----

// What an opaque descriptor holds; attributes are kept by their number.
struct Descriptor {
    std::map<int, uint64_t> attributes;
};

struct Layout {
    int type;
    uint64_t rows, columns;
    int64_t stride;
};

int cublasLtCreate(void** handle) { *handle = &allocations; return SUCCESS; }
int cublasLtDestroy(void*) { return SUCCESS; }
int cublasLtMatmulDescCreate(Descriptor** descriptor, int, int) {
    *descriptor = new Descriptor;
    return SUCCESS;
}
int cublasLtMatmulDescDestroy(Descriptor* descriptor) { delete descriptor; return SUCCESS; }
int cublasLtMatmulDescSetAttribute(Descriptor* descriptor, int attribute, const void* value,
                                   size_t bytes) {
    if (bytes > sizeof(uint64_t)) return 7;
    memcpy(&descriptor->attributes[attribute], value, bytes);
    return SUCCESS;
}
int cublasLtMatrixLayoutCreate(Layout** layout, int type, uint64_t rows, uint64_t columns,
                               int64_t stride) {
    *layout = new Layout{type, rows, columns, stride};
    return SUCCESS;
}
int cublasLtMatrixLayoutDestroy(Layout* layout) { delete layout; return SUCCESS; }
int cublasLtMatmulPreferenceCreate(Descriptor** preference) {
    *preference = new Descriptor;
    return SUCCESS;
}
int cublasLtMatmulPreferenceDestroy(Descriptor* preference) { delete preference; return SUCCESS; }
int cublasLtMatmulPreferenceSetAttribute(Descriptor* preference, int attribute, const void* value,
                                         size_t bytes) {
    return cublasLtMatmulDescSetAttribute(preference, attribute, value, bytes);
}
int cublasLtMatmulAlgoGetHeuristic(void*, Descriptor*, Layout*, Layout*, Layout*, Layout*,
                                   Descriptor*, int, void*, int* found) {
    *found = 1;
    return SUCCESS;
}

static float element(const void* matrix, int type, int64_t index) {
    if (type == 0) return static_cast<const float*>(matrix)[index];
    if (type == 2) return to_float(static_cast<const half_t*>(matrix)[index]);
    return to_float(static_cast<const bf16_t*>(matrix)[index]);
}

// A column-major matrix as `count` lines of `k`: its columns, or its rows.
static std::vector<float> elements(Pointer matrix, const Layout& is, uint64_t count, uint64_t k,
                                   bool columns) {
    std::vector<float> lines(count * k);
    for (uint64_t line = 0; line < count; line++)
        for (uint64_t i = 0; i < k; i++) {
            int64_t index = columns ? int64_t(line) * is.stride + int64_t(i)
                                    : int64_t(i) * is.stride + int64_t(line);
            lines[line * k + i] = element(at(matrix), is.type, index);
        }
    return lines;
}

// d = alpha op(a) op(b), column-major; `beta` is 0 in all that the program asks for.
int cublasLtMatmul(void*, Descriptor* descriptor, const float* alpha, Pointer a, Layout* a_layout,
                   Pointer b, Layout* b_layout, const float* beta, Pointer, Layout*, Pointer d,
                   Layout* d_layout, const void*, Pointer, size_t, Stream* stream) {
    LOCK;
    const int TRANSPOSE_A = 3, TRANSPOSE_B = 4;
    bool a_turned = descriptor->attributes[TRANSPOSE_A] == 1;
    bool b_turned = descriptor->attributes[TRANSPOSE_B] == 1;
    Layout a_is = *a_layout, b_is = *b_layout, d_is = *d_layout;
    uint64_t k = a_turned ? a_is.rows : a_is.columns;
    bool fits = d_is.rows == (a_turned ? a_is.columns : a_is.rows) &&
                d_is.columns == (b_turned ? b_is.rows : b_is.columns) &&
                k == (b_turned ? b_is.columns : b_is.rows) && a_is.type == b_is.type &&
                d_is.type == 0 && *beta == 0;
    if (!fits) return 7;
    float by = *alpha;
    enqueue(stream, [=] {
        // As [rows, k] and [columns, k], and four sums at a time, each in its order.
        std::vector<float> left = elements(a, a_is, d_is.rows, k, a_turned);
        std::vector<float> right = elements(b, b_is, d_is.columns, k, !b_turned);
        const uint64_t SUMS = 4;
        for (uint64_t row = 0; row < d_is.rows; row++)
            for (uint64_t first = 0; first < d_is.columns; first += SUMS) {
                uint64_t count = std::min(SUMS, d_is.columns - first);
                float sums[SUMS] = {};
                const float* columns[SUMS];
                for (uint64_t c = 0; c < SUMS; c++)
                    columns[c] = &right[(first + (c < count ? c : 0)) * k];
                for (uint64_t i = 0; i < k; i++)
                    for (uint64_t c = 0; c < SUMS; c++)
                        sums[c] += left[row * k + i] * columns[c][i];
                for (uint64_t c = 0; c < count; c++) {
                    int64_t to = int64_t(first + c) * d_is.stride + int64_t(row);
                    reinterpret_cast<float*>(d)[to] = by * sums[c];
                }
            }
    });
    return SUCCESS;
}

}  // extern "C"
