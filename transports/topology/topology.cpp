// SPDX-License-Identifier: Apache-2.0
#include <wye/topology.hpp>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstdint>
#include <fstream>
#include <iterator>
#include <memory>
#include <type_traits>

#include <hwloc.h>

#include <wye/error.hpp>

namespace wye {

namespace {

struct destroy {
    void operator()(hwloc_topology_t t) const noexcept { ::hwloc_topology_destroy(t); }
};
using tree = std::unique_ptr<std::remove_pointer_t<hwloc_topology_t>, destroy>;

constexpr unsigned network = 0x02, display = 0x03; // base classes (PCI Code and ID Assignment Specification, 1.1)
constexpr unsigned vga = 0x0300;
constexpr std::uintmax_t most_bytes = 64 << 20; // of a file

[[noreturn]] void fail(const std::string& what, int error)
{
    throw system_error(error_code{error ? error : EIO, boost::system::generic_category()}, what);
}

tree empty_tree()
{
    hwloc_topology_t t = nullptr;
    if (::hwloc_topology_init(&t) != 0) fail("hwloc", errno);
    tree owned{t};
    ::hwloc_topology_set_io_types_filter(t, HWLOC_TYPE_FILTER_KEEP_ALL);
    return owned;
}

std::string address_of(const hwloc_obj& o)
{
    const auto& p = o.attr->pcidev;
    char text[32];
    std::snprintf(text, sizeof text, "%04x:%02x:%02x.%x", unsigned{p.domain}, unsigned{p.bus}, unsigned{p.dev},
                  unsigned{p.func});
    return text;
}

/// The PCI device that an operating system's device is, or null.
hwloc_obj_t device_of(hwloc_obj_t o) noexcept
{
    while (o && o->type != HWLOC_OBJ_PCI_DEVICE) o = o->parent;
    return o;
}

int numa_of(const tree& t, hwloc_obj_t o) noexcept
{
    const hwloc_obj_t near = ::hwloc_get_non_io_ancestor_obj(t.get(), o);
    const bool one = near && near->nodeset && ::hwloc_bitmap_weight(near->nodeset) == 1;
    return one ? ::hwloc_bitmap_first(near->nodeset) : -1;
}

/// How far from the root they part: the more, the nearer.
int shared(hwloc_obj_t a, hwloc_obj_t b) noexcept
{
    const auto height = [](hwloc_obj_t o) {
        int n = 0;
        for (; o->parent; o = o->parent) ++n;
        return n;
    };
    int at = height(a), other = height(b);
    for (; at > other; --at) a = a->parent;
    for (; other > at; --other) b = b->parent;
    for (; a != b; --at) {
        a = a->parent;
        b = b->parent;
    }
    return at;
}

/// What the port says, on this machine: "100 Gb/sec (4X EDR)" (Linux, Documentation/ABI/stable/sysfs-class-infiniband).
double port_gbps(const tree& t, const std::string& name)
{
    if (!::hwloc_topology_is_thissystem(t.get())) return 0;
    std::ifstream file{"/sys/class/infiniband/" + name + "/ports/1/rate"};
    double gbps = 0;
    return file >> gbps ? gbps : 0;
}

bool is_gpu(const hwloc_obj& o) noexcept
{
    const unsigned kind = o.attr->pcidev.class_id;
    return kind >> 8 == display && kind != vga; // a console is none
}

std::string content_of(const std::filesystem::path& file)
{
    std::error_code none;
    if (!std::filesystem::is_regular_file(file, none)) fail(file.string(), ENOENT);
    if (std::filesystem::file_size(file, none) > most_bytes) fail(file.string(), EFBIG);
    std::ifstream in{file, std::ios::binary};
    std::string text{std::istreambuf_iterator<char>{in}, {}};
    if (!in) fail(file.string(), errno);
    return text;
}

/// hwloc's own parser, which is what there is where libxml2 is not, stumbles over them (licences, mostly), and over empty
/// lines before the first element.
std::string without_comments(std::string text)
{
    for (std::size_t at = 0; (at = text.find("<!--", at)) != std::string::npos;) {
        const std::size_t end = text.find("-->", at + 4);
        const std::size_t next = end == std::string::npos ? end : text.find_first_not_of(" \r\n", end + 3);
        text.erase(at, next == std::string::npos ? next : next - at);
    }
    return text;
}

struct found {
    hwloc_obj_t at;
    topology::rail what;
};

std::vector<found> rails_of(const tree& t)
{
    std::vector<found> all;
    for (hwloc_obj_t o = nullptr; (o = ::hwloc_get_next_osdev(t.get(), o));) {
        const hwloc_obj_t pci = device_of(o);
        if (o->attr->osdev.type != HWLOC_OBJ_OSDEV_OPENFABRICS || !pci) continue;
        if (pci->attr->pcidev.class_id >> 8 != network) continue;
        const double port = port_gbps(t, o->name);
        const double link = 8.0 * static_cast<double>(pci->attr->pcidev.linkspeed); // hwloc has GB/s
        all.push_back({pci, {o->name, address_of(*pci), numa_of(t, pci), port > 0 ? port : link}});
    }
    std::sort(all.begin(), all.end(), [](const found& a, const found& b) { return a.what.pci < b.what.pci; });
    return all;
}

topology::gpu describe(const tree& t, hwloc_obj_t gpu, const std::vector<found>& rails)
{
    topology::gpu g{address_of(*gpu), numa_of(t, gpu), {}};
    int nearest = -1;
    for (const found& r : rails) nearest = std::max(nearest, shared(gpu, r.at));
    for (const found& r : rails)
        if (shared(gpu, r.at) == nearest) g.rails.push_back(r.what.name);
    return g;
}

topology describe(const tree& t)
{
    topology all;
    const std::vector<found> rails = rails_of(t);
    for (const found& r : rails) all.rails.push_back(r.what);
    for (hwloc_obj_t o = nullptr; (o = ::hwloc_get_next_pcidev(t.get(), o));)
        if (is_gpu(*o)) all.gpus.push_back(describe(t, o, rails));
    std::sort(all.gpus.begin(), all.gpus.end(), [](const auto& a, const auto& b) { return a.pci < b.pci; });
    return all;
}

} // namespace

const topology::rail* topology::find(std::string_view name) const noexcept
{
    const auto it = std::find_if(rails.begin(), rails.end(), [&](const rail& r) { return r.name == name; });
    return it == rails.end() ? nullptr : &*it;
}

topology read_topology()
{
    const tree t = empty_tree();
    if (::hwloc_topology_load(t.get()) != 0) fail("hwloc cannot read this machine", errno);
    return describe(t);
}

topology read_topology(const std::filesystem::path& xml)
{
    const tree t = empty_tree();
    const std::string text = without_comments(content_of(xml));
    const auto length = static_cast<int>(text.size() + 1); // its end counts
    if (::hwloc_topology_set_xmlbuffer(t.get(), text.c_str(), length) != 0 || ::hwloc_topology_load(t.get()) != 0)
        throw system_error(errc::bad_metadata, xml.string() + " is no topology that hwloc has saved");
    return describe(t);
}

} // namespace wye
