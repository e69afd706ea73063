// A CUDA driver and cuBLASLt for machines without a GPU: the calls that the program makes, on host
// memory, with the kernels compiled for the CPU. Loaded in place of the real libraries it runs the
// program unchanged. It is for tests: slow, and strict where the real ones are lenient.
//
// Work on a stream is done when somebody waits for the stream, so that a buffer that is read or
// changed too early shows. Fresh memory holds NaN, and memory that was freed is no memory any more.
// What is written behind an allocation ends the program when it is freed, and so does a graph, a
// stream or pinned memory that is given back after its context, or on a thread that does not have the
// context. What may not be done during a capture is refused, and spoils the capture.
//
// STAND_IN_MEMORY: bytes of the GPU. STAND_IN_COMPUTE_CAP: its compute capability, as two digits.
// STAND_IN_FAULT_AFTER: launches after which a kernel reads what is not there, which is the last that
// the context does.
#include "threads.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <algorithm>
#include <functional>
#include <map>
#include <mutex>
#include <set>
#include <thread>
#include <vector>

namespace {

enum Result {
    SUCCESS = 0,
    INVALID_VALUE = 1,
    OUT_OF_MEMORY = 2,
    INVALID_DEVICE = 101,
    INVALID_CONTEXT = 201,
    NOT_FOUND = 500,
    ILLEGAL_ADDRESS = 700,
    CAPTURE_UNSUPPORTED = 900,
    CAPTURE_INVALIDATED = 901,
};

typedef uint64_t Pointer;
typedef std::function<void()> Work;

struct Graph { std::vector<Work> work; };
struct Stream {
    std::vector<Work> queue;
    Graph* capture = nullptr;
    // Of the capture: whose it is, and whether something was done that it cannot hold.
    std::thread::id thread;
    bool is_spoiled = false;
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

// Who holds the device's context, and whether this thread has it.
int num_holders;
thread_local bool has_context;
// What was made in the context: it has to be given back before.
std::set<const void*>& handles = *new std::set<const void*>;
// Launches until one goes wrong; and whether one has.
long launches_left = [] {
    const char* text = getenv("STAND_IN_FAULT_AFTER");
    return text ? atol(text) : -1;
}();
bool is_broken;

[[noreturn]] void die(const char* why) {
    fprintf(stderr, "stand-in: %s\n", why);
    abort();
}

// Of a call that needs the context.
int refusal() {
    if (num_holders == 0) die("a call after the context was given back");
    return !has_context ? INVALID_CONTEXT : is_broken ? ILLEGAL_ADDRESS : SUCCESS;
}

void made(const void* handle) { handles.insert(handle); }

// An error here would go unseen, since programs look at none of them as they end.
void given_back(const void* handle, const char* what) {
    if (num_holders > 0 && has_context && handles.erase(handle) == 1) return;
    fprintf(stderr, "stand-in: %s: ", what);
    die("given back twice, after its context, or on a thread that does not have the context");
}

// A capture forbids some calls to the thread that captures, and is of no use after one.
bool spoils_capture() {
    bool spoils = false;
    for (Stream* stream : streams)
        if (stream->capture && stream->thread == std::this_thread::get_id())
            stream->is_spoiled = spoils = true;
    return spoils;
}

void finish(Stream* stream) {
    std::vector<Work> queue;
    queue.swap(stream->queue);
    for (Work& work : queue)
        if (!is_broken) work();
}

void finish_all() {
    for (Stream* stream : streams) finish(stream);
}

void enqueue(Stream* stream, Work work) {
    (stream->capture ? stream->capture->work : stream->queue).push_back(std::move(work));
}

// What an allocation takes of the GPU: whole pages, of which small ones share some.
size_t taken(size_t bytes) {
    const size_t PAGE = 2 << 20;
    return bytes <= PAGE / 2 ? bytes : (bytes + PAGE - 1) / PAGE * PAGE;
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
#define IN_CONTEXT                                                                               \
    if (int error = refusal()) return error
#define NOT_IN_CAPTURE                                                                           \
    IN_CONTEXT;                                                                                  \
    if (spoils_capture()) return CAPTURE_UNSUPPORTED

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
int cuDevicePrimaryCtxRetain(void** context, int) {
    LOCK;
    num_holders++;
    *context = &allocations;
    return SUCCESS;
}
int cuDevicePrimaryCtxRelease_v2(int) {
    LOCK;
    if (--num_holders == 0 && !is_broken && (!handles.empty() || !allocations.empty()))
        die("the context is given back before what was made in it");
    return SUCCESS;
}
int cuCtxSetCurrent(void* context) {
    LOCK;
    if (num_holders == 0) die("the context was given back");
    has_context = context != nullptr;
    return SUCCESS;
}

int cuGetErrorString(int error, const char** text) {
    switch (error) {
        case SUCCESS: *text = "no error"; break;
        case INVALID_VALUE: *text = "invalid argument"; break;
        case OUT_OF_MEMORY: *text = "out of memory"; break;
        case INVALID_DEVICE: *text = "invalid device ordinal"; break;
        case NOT_FOUND: *text = "named symbol not found"; break;
        case INVALID_CONTEXT: *text = "invalid device context"; break;
        case ILLEGAL_ADDRESS: *text = "an illegal memory access was encountered"; break;
        case CAPTURE_UNSUPPORTED: *text = "operation not permitted when stream is capturing"; break;
        case CAPTURE_INVALIDATED: *text = "operation failed due to a previous error"; break;
        default: return INVALID_VALUE;
    }
    return SUCCESS;
}

int cuMemGetInfo_v2(size_t* free_bytes, size_t* total) {
    LOCK;
    IN_CONTEXT;
    *total = total_memory();
    *free_bytes = *total > allocated ? *total - allocated : 0;
    return SUCCESS;
}

int cuMemAlloc_v2(Pointer* pointer, size_t bytes) {
    LOCK;
    NOT_IN_CAPTURE;
    if (bytes == 0) return INVALID_VALUE;
    if (bytes > total_memory() || allocated + taken(bytes) > total_memory()) return OUT_OF_MEMORY;
    void* memory = mmap(nullptr, bytes + GUARD_BYTES, PROT_READ | PROT_WRITE,
                        MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (memory == MAP_FAILED) return OUT_OF_MEMORY;
    memset(memory, 0xff, bytes);
    memset(static_cast<unsigned char*>(memory) + bytes, GUARD, GUARD_BYTES);
    *pointer = reinterpret_cast<Pointer>(memory);
    allocations[*pointer] = bytes;
    allocated += taken(bytes);
    return SUCCESS;
}

int cuMemFree_v2(Pointer pointer) {
    LOCK;
    NOT_IN_CAPTURE;
    finish_all();
    auto found = allocations.find(pointer);
    if (found == allocations.end()) return INVALID_VALUE;
    for (size_t i = 0; i < GUARD_BYTES; i++)
        if (at(pointer)[found->second + i] != GUARD) die("something wrote behind an allocation");
    allocated -= taken(found->second);
    munmap(at(pointer), found->second + GUARD_BYTES);
    allocations.erase(found);
    return SUCCESS;
}

int cuMemHostAlloc(void** pointer, size_t bytes, unsigned) {
    LOCK;
    NOT_IN_CAPTURE;
    *pointer = aligned_alloc(512, (bytes + 511) / 512 * 512);
    if (!*pointer) return OUT_OF_MEMORY;
    made(*pointer);
    return SUCCESS;
}
int cuMemFreeHost(void* pointer) {
    LOCK;
    given_back(pointer, "pinned memory");
    free(pointer);
    return SUCCESS;
}

// There is no copy outside of streams: a GPU's may go on after the call has returned.
int cuMemcpyHtoDAsync_v2(Pointer to, const void* from, size_t bytes, Stream* stream) {
    LOCK;
    IN_CONTEXT;
    if (!is_device(to, bytes)) return INVALID_VALUE;
    enqueue(stream, [=] { memcpy(at(to), from, bytes); });
    return SUCCESS;
}
int cuMemcpyDtoHAsync_v2(void* to, Pointer from, size_t bytes, Stream* stream) {
    LOCK;
    IN_CONTEXT;
    if (!is_device(from, bytes)) return INVALID_VALUE;
    enqueue(stream, [=] { memcpy(to, at(from), bytes); });
    return SUCCESS;
}
int cuMemcpyDtoDAsync_v2(Pointer to, Pointer from, size_t bytes, Stream* stream) {
    LOCK;
    IN_CONTEXT;
    if (!is_device(to, bytes) || !is_device(from, bytes)) return INVALID_VALUE;
    enqueue(stream, [=] { memcpy(at(to), at(from), bytes); });
    return SUCCESS;
}
int cuMemsetD8Async(Pointer to, unsigned char value, size_t bytes, Stream* stream) {
    LOCK;
    IN_CONTEXT;
    if (!is_device(to, bytes)) return INVALID_VALUE;
    enqueue(stream, [=] { memset(at(to), value, bytes); });
    return SUCCESS;
}

int cuModuleLoadData(void** module, const void* image) {
    LOCK;
    IN_CONTEXT;
    // The header of a fat binary holds words of eight bytes.
    if (Pointer(image) % 8) return INVALID_VALUE;
    *module = &streams;
    return SUCCESS;
}
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

struct LaunchAttribute {
    int id;
    char pad[4];
    union {
        char bytes[64];
        int number;
    };
};
struct LaunchConfig {
    unsigned grid[3], block[3], shared_bytes;
    Stream* stream;
    const LaunchAttribute* attributes;
    unsigned num_attributes;
};

// A kernel that may begin early waits for the one before it by itself, which every kernel is held to.
int cuLaunchKernelEx(const LaunchConfig* config, const stand_in::Kernel* function, void** params,
                     void**) {
    LOCK;
    IN_CONTEXT;
    const int PROGRAMMATIC_STREAM_SERIALIZATION = 6;
    for (unsigned i = 0; i < config->num_attributes; i++) {
        const LaunchAttribute& attribute = config->attributes[i];
        bool is_early = attribute.id == PROGRAMMATIC_STREAM_SERIALIZATION;
        if (!is_early || attribute.number != 1 || capability() < 90) return INVALID_VALUE;
    }
    uint3_t grid = {config->grid[0], config->grid[1], config->grid[2]};
    uint3_t block = {config->block[0], config->block[1], config->block[2]};
    size_t shared_bytes = config->shared_bytes;
    Stream* stream = config->stream;
    bool is_empty = !grid.x || !grid.y || !grid.z || !block.x || !block.y || !block.z;
    bool is_large = grid.x > 0x7fffffff || grid.y > 65535 || grid.z > 65535 ||
                    block.x > function->threads_max || shared_bytes > 48 << 10;
    if (is_empty || is_large) return INVALID_VALUE;
    const unsigned char* args = static_cast<const unsigned char*>(params[0]);
    std::vector<unsigned char> copy(args, args + function->args_bytes);
    enqueue(stream, [=] {
        if (launches_left >= 0 && launches_left-- == 0) {
            is_broken = true;
            return;
        }
        stand_in::run(*function, grid, block, shared_bytes, copy.data());
    });
    return SUCCESS;
}

int cuStreamCreate(Stream** stream, unsigned) {
    LOCK;
    NOT_IN_CAPTURE;
    *stream = new Stream;
    made(*stream);
    streams.push_back(*stream);
    return SUCCESS;
}
int cuStreamDestroy_v2(Stream* stream) {
    LOCK;
    given_back(stream, "stream");
    finish(stream);
    for (size_t i = 0; i < streams.size(); i++)
        if (streams[i] == stream) streams.erase(streams.begin() + long(i--));
    delete stream;
    return SUCCESS;
}
int cuStreamSynchronize(Stream* stream) {
    LOCK;
    NOT_IN_CAPTURE;
    finish(stream);
    return refusal();
}
int cuStreamBeginCapture_v2(Stream* stream, int) {
    LOCK;
    NOT_IN_CAPTURE;
    stream->capture = new Graph;
    stream->thread = std::this_thread::get_id();
    stream->is_spoiled = false;
    return SUCCESS;
}
int cuStreamEndCapture(Stream* stream, Graph** graph) {
    LOCK;
    IN_CONTEXT;
    *graph = stream->capture;
    stream->capture = nullptr;
    if (!*graph) return INVALID_VALUE;
    if (!stream->is_spoiled) return SUCCESS;
    delete *graph;
    *graph = nullptr;
    return CAPTURE_INVALIDATED;
}
int cuGraphInstantiateWithFlags(Graph** executable, const Graph* graph, unsigned long long) {
    LOCK;
    IN_CONTEXT;
    *executable = new Graph(*graph);
    made(*executable);
    return SUCCESS;
}
int cuGraphDestroy(Graph* graph) { delete graph; return SUCCESS; }
int cuGraphExecDestroy(Graph* executable) {
    LOCK;
    given_back(executable, "graph");
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

size_t cublasLtGetVersion() { return 130000; }
int cublasLtCreate(void** handle) {
    LOCK;
    if (refusal()) return 1;
    *handle = new Descriptor;
    made(*handle);
    return SUCCESS;
}
int cublasLtDestroy(Descriptor* handle) {
    LOCK;
    given_back(handle, "handle of cuBLASLt");
    delete handle;
    return SUCCESS;
}
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
// Attributes of a product.
const int TRANSPOSE_A = 3, TRANSPOSE_B = 4, EPILOGUE = 7, BIAS_POINTER = 8;
const uint64_t EPILOGUE_BIAS = 4;

// So that callers meet both, there is nothing for sums of 8 modulo 16, and no bias for odd results.
int cublasLtMatmulAlgoGetHeuristic(void*, Descriptor* descriptor, Layout* a_layout, Layout*, Layout*,
                                   Layout* d_layout, Descriptor*, int, void*, int* found) {
    bool has_bias = descriptor->attributes[EPILOGUE] == EPILOGUE_BIAS;
    bool is_known = a_layout->rows % 16 != 8 && (!has_bias || d_layout->rows % 2 == 0);
    const int NOT_SUPPORTED = 15;
    *found = is_known;
    return is_known ? SUCCESS : NOT_SUPPORTED;
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
                   Layout* d_layout, const void*, Pointer workspace, size_t workspace_bytes,
                   Stream* stream) {
    LOCK;
    bool a_turned = descriptor->attributes[TRANSPOSE_A] == 1;
    bool b_turned = descriptor->attributes[TRANSPOSE_B] == 1;
    Layout a_is = *a_layout, b_is = *b_layout, d_is = *d_layout;
    uint64_t k = a_turned ? a_is.rows : a_is.columns;
    bool fits = d_is.rows == (a_turned ? a_is.columns : a_is.rows) &&
                d_is.columns == (b_turned ? b_is.rows : b_is.columns) &&
                k == (b_turned ? b_is.columns : b_is.rows) && a_is.type == b_is.type &&
                d_is.type == 0 && *beta == 0 && is_device(workspace, workspace_bytes);
    Pointer bias = descriptor->attributes[EPILOGUE] == EPILOGUE_BIAS
                       ? descriptor->attributes[BIAS_POINTER] : 0;
    if (bias && !is_device(bias, d_is.rows * sizeof(float))) fits = false;
    if (!fits) return 7;
    // What an algorithm is chosen for, unless it is told otherwise.
    if ((a | b | d | workspace | bias) % 256) return 15;
    if (refusal()) return 13;
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
                    float add = bias ? reinterpret_cast<const float*>(bias)[row] : 0;
                    reinterpret_cast<float*>(d)[to] = by * sums[c] + add;
                }
            }
    });
    return SUCCESS;
}

}  // extern "C"
