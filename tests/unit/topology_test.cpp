// SPDX-License-Identifier: Apache-2.0
#define BOOST_TEST_MODULE topology
#include <boost/test/unit_test.hpp>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <string>
#include <vector>

#include <unistd.h>

#include <wye/error.hpp>
#include <wye/topology.hpp>

using names = std::vector<std::string>;

namespace {

/// Two sockets. On the first two switches, each with a GPU and two rails; on the second a GPU and a rail, and a GPU behind
/// a bridge of its own.
constexpr auto two_sockets = R"(<?xml version="1.0" encoding="UTF-8"?>
<!-- Somebody's licence. -->
<!DOCTYPE topology SYSTEM "hwloc2.dtd">
<topology version="2.0">
 <object type="Machine" os_index="0" cpuset="0x3" complete_cpuset="0x3" allowed_cpuset="0x3" nodeset="0x3" complete_nodeset="0x3" allowed_nodeset="0x3" gp_index="1">
  <object type="Package" os_index="0" cpuset="0x1" complete_cpuset="0x1" nodeset="0x1" complete_nodeset="0x1" gp_index="2">
   <object type="NUMANode" os_index="0" cpuset="0x1" complete_cpuset="0x1" nodeset="0x1" complete_nodeset="0x1" gp_index="3" local_memory="1024"/>
   <object type="PU" os_index="0" cpuset="0x1" complete_cpuset="0x1" nodeset="0x1" complete_nodeset="0x1" gp_index="4"/>
   <object type="Bridge" gp_index="10" bridge_type="0-1" depth="0" bridge_pci="0000:[10-1f]">
    <object type="Bridge" gp_index="11" bridge_type="1-1" depth="1" bridge_pci="0000:[11-13]" pci_busid="0000:10:00.0" pci_type="0604 [1d0f:0200] [0000:0000] 00" pci_link_speed="15.753846">
     <object type="PCIDev" gp_index="12" pci_busid="0000:11:00.0" pci_type="0302 [10de:2330] [0000:0000] a1" pci_link_speed="0.000000"/>
     <object type="PCIDev" gp_index="13" pci_busid="0000:12:00.0" pci_type="0200 [1d0f:efa1] [0000:0000] 00" pci_link_speed="12.500000">
      <object type="OSDev" gp_index="14" name="rdmap18s0" osdev_type="3"/>
     </object>
     <object type="PCIDev" gp_index="15" pci_busid="0000:13:00.0" pci_type="0207 [15b3:1021] [0000:0000] 00" pci_link_speed="0.000000">
      <object type="OSDev" gp_index="16" name="mlx5_0" osdev_type="3"/>
      <object type="OSDev" gp_index="17" name="ib0" osdev_type="2"/>
     </object>
    </object>
    <object type="Bridge" gp_index="21" bridge_type="1-1" depth="1" bridge_pci="0000:[14-15]" pci_busid="0000:10:01.0" pci_type="0604 [1d0f:0200] [0000:0000] 00" pci_link_speed="15.753846">
     <object type="PCIDev" gp_index="22" pci_busid="0000:14:00.0" pci_type="0302 [10de:2330] [0000:0000] a1" pci_link_speed="0.000000"/>
     <object type="PCIDev" gp_index="23" pci_busid="0000:15:00.0" pci_type="0200 [1d0f:efa1] [0000:0000] 00" pci_link_speed="12.500000">
      <object type="OSDev" gp_index="24" name="rdmap21s0" osdev_type="3"/>
     </object>
    </object>
   </object>
  </object>
  <object type="Package" os_index="1" cpuset="0x2" complete_cpuset="0x2" nodeset="0x2" complete_nodeset="0x2" gp_index="30">
   <object type="NUMANode" os_index="1" cpuset="0x2" complete_cpuset="0x2" nodeset="0x2" complete_nodeset="0x2" gp_index="31" local_memory="1024"/>
   <object type="PU" os_index="1" cpuset="0x2" complete_cpuset="0x2" nodeset="0x2" complete_nodeset="0x2" gp_index="32"/>
   <object type="Bridge" gp_index="40" bridge_type="0-1" depth="0" bridge_pci="0000:[80-8f]">
    <object type="PCIDev" gp_index="41" pci_busid="0000:80:01.0" pci_type="0300 [1d0f:1111] [0000:0000] 00" pci_link_speed="0.000000"/>
    <object type="PCIDev" gp_index="42" pci_busid="0000:80:02.0" pci_type="0302 [10de:2330] [0000:0000] a1" pci_link_speed="0.000000"/>
    <object type="PCIDev" gp_index="43" pci_busid="0000:80:03.0" pci_type="0200 [1d0f:efa1] [0000:0000] 00" pci_link_speed="12.500000">
     <object type="OSDev" gp_index="44" name="rdmap128s3" osdev_type="3"/>
    </object>
   </object>
   <object type="Bridge" gp_index="50" bridge_type="0-1" depth="0" bridge_pci="0000:[90-9f]">
    <object type="PCIDev" gp_index="51" pci_busid="0000:90:00.0" pci_type="0302 [10de:2330] [0000:0000] a1" pci_link_speed="0.000000"/>
   </object>
  </object>
 </object>
</topology>
)";

/// A file for as long as it lives.
struct written {
    explicit written(std::string_view text)
        : path{std::filesystem::temp_directory_path() / ("wye-topology-" + std::to_string(::getpid()) + ".xml")}
    {
        std::ofstream{path} << text;
    }
    ~written() { std::filesystem::remove(path); }
    const std::filesystem::path path;
};

std::string why(const std::filesystem::path& p)
{
    try {
        wye::read_topology(p);
    } catch (const wye::system_error& e) {
        return e.what();
    }
    return {};
}

} // namespace

BOOST_AUTO_TEST_CASE(rails_and_gpus_are_found)
{
    const written file{two_sockets};
    const wye::topology t = wye::read_topology(file.path);
    BOOST_REQUIRE(t.rails.size() == 4u);
    BOOST_TEST(t.rails[0].name == "rdmap18s0");
    BOOST_TEST(t.rails[0].pci == "0000:12:00.0");
    BOOST_TEST(t.rails[0].numa == 0);
    BOOST_TEST(t.rails[0].gbps == 100.0);
    BOOST_TEST(t.rails[1].name == "mlx5_0");
    BOOST_TEST(t.rails[1].gbps == 0.0);
    BOOST_TEST(t.rails[3].numa == 1);
    BOOST_REQUIRE(t.gpus.size() == 4u); // the console is none
    BOOST_TEST(t.gpus[3].pci == "0000:90:00.0");
    BOOST_TEST(t.gpus[3].numa == 1);
    BOOST_TEST((t.find("rdmap21s0") == &t.rails[2]));
    BOOST_TEST(!t.find("rdmap"));
}

BOOST_AUTO_TEST_CASE(a_gpu_has_the_rails_behind_its_switch)
{
    const written file{two_sockets};
    const wye::topology t = wye::read_topology(file.path);
    BOOST_REQUIRE(t.gpus.size() == 4u);
    BOOST_TEST((t.gpus[0].rails == names{"rdmap18s0", "mlx5_0"}));
    BOOST_TEST((t.gpus[1].rails == names{"rdmap21s0"}));
    BOOST_TEST((t.gpus[2].rails == names{"rdmap128s3"}));
    BOOST_TEST((t.gpus[3].rails == names{"rdmap128s3"})); // none behind its bridge; of its socket, then
}

BOOST_AUTO_TEST_CASE(what_is_no_topology_says_so)
{
    BOOST_TEST(why("/nowhere/at/all.xml").find("/nowhere/at/all.xml") != std::string::npos);
    for (const std::string_view text : {"", "no xml", "<topology version=\"2.0\">", "<?xml version=\"1.0\"?><a/>"}) {
        const written file{text};
        BOOST_TEST(why(file.path).find(file.path.string()) != std::string::npos, text);
    }
    const std::string_view whole{two_sockets};
    for (std::size_t n = 0; n < whole.size(); n += 97) {
        const written file{whole.substr(0, n)};
        why(file.path); // whatever it says, it ends
    }
}

BOOST_AUTO_TEST_CASE(this_machine_can_be_read)
{
    const wye::topology t = wye::read_topology();
    for (const wye::topology::gpu& g : t.gpus) BOOST_TEST(g.rails.empty() == t.rails.empty());
}

// Saved from EC2 instances; where they are, WYE_TOPOLOGIES says.
BOOST_AUTO_TEST_CASE(machines_with_many_rails)
{
    const char* const folder = std::getenv("WYE_TOPOLOGIES");
    if (!folder) {
        BOOST_TEST_MESSAGE("skipped: WYE_TOPOLOGIES is not set");
        return;
    }
    struct machine {
        const char* file;
        std::size_t gpus, rails, rails_of_each;
    };
    for (const machine m : {machine{"p5.48xl.xml", 8, 32, 4}, {"p4d.24xl.xml", 8, 4, 1}, {"g6.48xl.xml", 8, 1, 1}}) {
        const wye::topology t = wye::read_topology(std::filesystem::path{folder} / m.file);
        BOOST_TEST(t.gpus.size() == m.gpus, m.file);
        BOOST_TEST(t.rails.size() == m.rails, m.file);
        for (const wye::topology::gpu& g : t.gpus) {
            BOOST_TEST(g.rails.size() == m.rails_of_each, m.file << " " << g.pci);
            if (m.rails > 1) BOOST_TEST(t.find(g.rails.front())->numa == g.numa, m.file << " " << g.pci);
        }
    }
}
