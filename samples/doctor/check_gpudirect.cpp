// SPDX-License-Identifier: Apache-2.0
// Whether NICs and disks can reach GPU memory by themselves.
#include <algorithm>
#include <cctype>

#include "checks.hpp"

namespace doctor {

namespace fs = std::filesystem;

namespace {

constexpr std::uint64_t dmabuf_driver = 515;                 // of NVIDIA's open modules, that hands out dma-bufs
constexpr std::uint64_t dmabuf_major = 5, dmabuf_minor = 12; // of Linux: RDMA takes them (ibv_reg_dmabuf_mr)

std::vector<std::string> gpus(const tree& t)
{
    std::vector<std::string> found;
    for (const std::string& at : t.list("sys/bus/pci/devices")) {
        const fs::path f = fs::path{"sys/bus/pci/devices"} / at;
        if (t.line(f / "vendor") == "0x10de" && t.line(f / "class").starts_with("0x03")) found.push_back(at);
    }
    return found;
}

/// "NVRM version: NVIDIA UNIX Open Kernel Module for x86_64  550.54.15  Release Build ..."
struct nvidia_driver {
    std::string version; ///< "550.54.15"
    bool open = false;
    std::uint64_t major = 0;
};

nvidia_driver driver_of(const tree& t)
{
    const std::string line = t.line("proc/driver/nvidia/version");
    nvidia_driver d;
    d.open = line.find("Open Kernel Module") != line.npos;
    for (std::size_t at = 0; (at = line.find("  ", at)) != line.npos;) {
        at = line.find_first_not_of(' ', at);
        if (at == line.npos) break;
        const std::string word = line.substr(at, line.find(' ', at) - at);
        if (!std::isdigit(static_cast<unsigned char>(word[0])) || word.find('.') == word.npos) continue;
        d.version = word;
        d.major = leading_number(word).value_or(0);
        break;
    }
    return d;
}

bool kernel_has_dmabuf(const tree& t)
{
    const std::string release = t.line("proc/sys/kernel/osrelease"); // "6.1.0-18-cloud-amd64"
    const std::uint64_t major = leading_number(release).value_or(0);
    const std::size_t dot = release.find('.');
    const std::uint64_t minor =
        dot == release.npos ? 0 : leading_number(std::string_view{release}.substr(dot + 1)).value_or(0);
    return major > dmabuf_major || (major == dmabuf_major && minor >= dmabuf_minor);
}

void check_peer_memory(const patient& p, const nvidia_driver& d, report& r)
{
    const tree& t = p.files;
    std::vector<std::string> ways;
    for (const char* module : {"nvidia_peermem", "nv_peer_mem", "efa_nv_peermem"})
        if (t.has_module(module)) ways.push_back(module);
    const bool by_efa = std::any_of(p.devices.begin(), p.devices.end(),
                                    [](const device& x) { return x.peer_memory.starts_with("NVIDIA"); });
    if (by_efa) ways.push_back("efa's driver");
    const bool dmabuf = d.open && d.major >= dmabuf_driver && kernel_has_dmabuf(t);
    if (dmabuf) ways.push_back("dma-buf");
    finding f{"peer memory", verdict::ok, "NICs reach GPU memory by "};
    f.facts = {{"dma_buf", dmabuf}, {"efa_p2p", by_efa}, {"nvidia_peermem", t.has_module("nvidia_peermem")}};
    for (std::size_t i = 0; i < ways.size(); ++i) f.why += (i ? ", " : "") + ways[i];
    if (ways.empty()) {
        f.verdict = verdict::warning;
        f.why = "NICs cannot reach GPU memory: no nvidia_peermem, and no dma-buf, which takes NVIDIA's open modules "
                "515 or newer on Linux 5.12";
        f.advice = {"use NVIDIA's open kernel modules, and a libfabric built with CUDA (FI_HMEM)",
                    "for verbs: modprobe nvidia_peermem; for EFA with the proprietary modules: a newer efa driver, "
                    "from EFA's installer"};
    } else if (p.devices.empty()) {
        f.why += ", if there were any";
    } else if (p.fabric && !p.fabric->gpu_memory) {
        f.verdict = verdict::warning;
        f.why += "; libfabric does not let them";
        f.advice = {"use a libfabric built with CUDA (FI_HMEM): /opt/amazon/efa"};
    }
    r.add(std::move(f));
}

finding module_finding(const char* check, bool there, const char* why, const char* why_not, std::string advice)
{
    finding f{check, verdict::ok, there ? why : why_not};
    if (there) return f;
    f.verdict = verdict::warning;
    f.advice = {std::move(advice)};
    return f;
}

} // namespace

void check_gpudirect(const patient& p, report& r)
{
    const tree& t = p.files;
    const auto cards = gpus(t);
    const nvidia_driver d = driver_of(t);
    if (d.version.empty() && cards.empty())
        return r.add({"gpudirect", verdict::ok, "no NVIDIA GPU here, so nothing to look at"});
    finding f{"nvidia driver", verdict::ok,
              d.version + (d.open ? ", open modules, " : ", proprietary modules, ") + some(cards.size(), "GPU")};
    f.facts = {{"version", d.version}, {"open", d.open}, {"gpus", cards.size()}};
    if (d.version.empty()) {
        f.verdict = verdict::failed;
        f.why = some(cards.size(), "NVIDIA GPU") + " on the PCI bus (" + cards.front() + " first) without a driver";
        f.advice = {"modprobe nvidia; in a container: the NVIDIA runtime, and nvidia.com/gpu in the pod's limits"};
        return r.add(std::move(f));
    }
    r.add(std::move(f));
    check_peer_memory(p, d, r);
    r.add(module_finding("gdrcopy", t.has_module("gdrdrv"),
                         "gdrdrv is loaded: the processor reads and writes GPU memory directly",
                         "no gdrdrv: small messages to and from GPU memory go by cudaMemcpy, tens of microseconds each",
                         "install GDRCopy's kernel module; in a pod /dev/gdrdrv must be there, too"));
    const bool disks = t.has_module("nvidia_fs") || t.has("proc/driver/nvidia-fs/version");
    r.add(module_finding("gpudirect storage", disks, "nvidia-fs is loaded",
                         "no nvidia-fs: files go to and from GPU memory through the host's",
                         "install nvidia-fs (GPUDirect Storage) where disks shall reach GPUs by themselves"));
}

} // namespace doctor
