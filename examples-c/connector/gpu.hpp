// What the simulated engine has on the device: memory and a stream that are given back at the end of a scope.
#pragma once

#include "common/cuda_driver.h"

#include <cstddef>
#include <stdexcept>
#include <string>

namespace connector {

// The driver, open for the length of a scope. `check` makes exceptions of errors.
class Gpu {
public:
    explicit Gpu(const cuda_driver_t &cuda) : cuda_(cuda) {}
    ~Gpu() { cuda_driver_close(&cuda_); }

    Gpu(const Gpu &) = delete;
    Gpu &operator=(const Gpu &) = delete;

    const cuda_driver_t &operator*() const { return cuda_; }
    const cuda_driver_t *operator->() const { return &cuda_; }

    void check(const char *what, int code) const
    {
        if (code != 0)
            throw std::runtime_error(std::string(what) + ": " + cuda_error_name(&cuda_, code));
    }

private:
    cuda_driver_t cuda_;
};

class DeviceMemory {
public:
    DeviceMemory(const Gpu &gpu, std::size_t bytes) : gpu_(gpu)
    {
        gpu.check("cuMemAlloc", gpu->cuMemAlloc(&address_, bytes));
    }
    ~DeviceMemory() { gpu_->cuMemFree(address_); }

    DeviceMemory(const DeviceMemory &) = delete;
    DeviceMemory &operator=(const DeviceMemory &) = delete;

    cuda_address_t address() const { return address_; }

private:
    const Gpu &gpu_;
    cuda_address_t address_ = 0;
};

// Copies from and to it run on the stream and wait for nobody.
class PinnedMemory {
public:
    PinnedMemory(const Gpu &gpu, std::size_t bytes) : gpu_(gpu)
    {
        gpu.check("cuMemHostAlloc", gpu->cuMemHostAlloc(&address_, bytes, 0));
    }
    ~PinnedMemory() { gpu_->cuMemFreeHost(address_); }

    PinnedMemory(const PinnedMemory &) = delete;
    PinnedMemory &operator=(const PinnedMemory &) = delete;

    unsigned char *bytes() const { return static_cast<unsigned char *>(address_); }

private:
    const Gpu &gpu_;
    void *address_ = nullptr;
};

class Stream {
public:
    explicit Stream(const Gpu &gpu) : gpu_(gpu)
    {
        gpu.check("cuStreamCreate", gpu->cuStreamCreate(&stream_, CUDA_STREAM_NON_BLOCKING));
    }
    ~Stream()
    {
        gpu_->cuStreamSynchronize(stream_);
        gpu_->cuStreamDestroy(stream_);
    }

    Stream(const Stream &) = delete;
    Stream &operator=(const Stream &) = delete;

    operator cuda_stream_t() const { return stream_; }
    void synchronize() const { gpu_.check("the stream", gpu_->cuStreamSynchronize(stream_)); }

private:
    const Gpu &gpu_;
    cuda_stream_t stream_ = nullptr;
};

class Event {
public:
    explicit Event(const Gpu &gpu) : gpu_(gpu)
    {
        gpu.check("cuEventCreate", gpu->cuEventCreate(&event_, CUDA_EVENT_DISABLE_TIMING));
    }
    ~Event() { gpu_->cuEventDestroy(event_); }

    Event(const Event &) = delete;
    Event &operator=(const Event &) = delete;

    void record(cuda_stream_t stream) const { gpu_.check("cuEventRecord", gpu_->cuEventRecord(event_, stream)); }
    void synchronize() const { gpu_.check("cuEventSynchronize", gpu_->cuEventSynchronize(event_)); }

private:
    const Gpu &gpu_;
    cuda_event_t event_ = nullptr;
};

} // namespace connector
