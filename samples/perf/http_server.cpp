// SPDX-License-Identifier: Apache-2.0
#include "http_server.hpp"

#include <csignal>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <stdexcept>
#include <thread>
#include <vector>

#include <netinet/in.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

namespace perf {

namespace {

namespace fs = std::filesystem;

std::uint16_t free_port()
{
    const int fd = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    sockaddr_in here{};
    here.sin_family = AF_INET;
    here.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    socklen_t size = sizeof here;
    const bool bound = ::bind(fd, reinterpret_cast<sockaddr*>(&here), size) == 0 &&
                       ::getsockname(fd, reinterpret_cast<sockaddr*>(&here), &size) == 0;
    ::close(fd);
    if (!bound) throw std::runtime_error{"no free port"};
    return ntohs(here.sin_port);
}

bool answers(std::uint16_t port)
{
    const int fd = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    sockaddr_in there{};
    there.sin_family = AF_INET;
    there.sin_port = htons(port);
    there.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    const bool well = ::connect(fd, reinterpret_cast<sockaddr*>(&there), sizeof there) == 0;
    ::close(fd);
    return well;
}

std::string configuration(const std::string& folder, std::uint16_t plain, std::uint16_t secure)
{
    const std::string user = ::geteuid() == 0 ? "user root;\n" : "";
    const std::string at = "127.0.0.1:";
    return user + "daemon off;\nworker_processes 1;\npid " + folder + "/pid;\nerror_log " + folder + "/log;\n" +
           "events { worker_connections 256; }\nhttp {\naccess_log off;\nsendfile on;\ntcp_nopush on;\n" +
           "keepalive_requests 1000000;\nclient_max_body_size 0;\nclient_body_buffer_size 1m;\nclient_body_temp_path " + folder + "/temp;\n" +
           "server {\nlisten " + at + std::to_string(plain) + ";\nlisten " + at + std::to_string(secure) + " ssl;\n" +
           "ssl_certificate " + folder + "/cert.pem;\nssl_certificate_key " + folder + "/key.pem;\nroot " + folder +
           "/files;\ndav_methods PUT DELETE;\n}\n}\n";
}

void make_certificate(const std::string& folder)
{
    const std::string command = "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 -subj /CN=perf "
                                "-addext subjectAltName=IP:127.0.0.1 -keyout " + folder + "/key.pem -out " + folder +
                                "/cert.pem 2> /dev/null";
    if (std::system(command.c_str()) != 0) throw std::runtime_error{"openssl makes no certificate"};
}

} // namespace

http_server::http_server(std::size_t data_bytes) : plain_{free_port()}, secure_{free_port()}
{
    std::string name = std::string{::access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "/tmp"} + "/wye-perf-XXXXXX";
    if (!::mkdtemp(name.data())) throw std::runtime_error{"mkdtemp"};
    folder_ = name;
    fs::create_directories(folder_ + "/files/bucket");
    std::vector<char> block(1 << 20);
    for (std::size_t i = 0; i < block.size(); ++i) block[i] = static_cast<char>(i * 2654435761u >> 13);
    std::ofstream data{folder_ + "/files/bucket/data", std::ios::binary};
    for (std::size_t n = 0; n < data_bytes; n += block.size()) data.write(block.data(), static_cast<std::streamsize>(block.size()));
    data.close();
    make_certificate(folder_);
    const std::string file = folder_ + "/conf";
    std::ofstream{file} << configuration(folder_, plain_, secure_);

    const pid_t us = ::getpid();
    pid_ = ::fork();
    if (pid_ == 0) {
        ::prctl(PR_SET_PDEATHSIG, SIGTERM);
        if (::getppid() != us) std::_Exit(1);
        for (const char* program : {"nginx", "/usr/sbin/nginx"}) ::execlp(program, "nginx", "-c", file.c_str(), "-e", "/dev/null", nullptr);
        std::_Exit(127);
    }
    while (!answers(plain_)) {
        if (::waitpid(pid_, nullptr, WNOHANG) == pid_) {
            pid_ = -1;
            fs::remove_all(folder_);
            throw std::runtime_error{"nginx does not start: is it installed (Debian: nginx-light)?"};
        }
        std::this_thread::yield();
    }
}

http_server::~http_server()
{
    if (pid_ > 0) {
        ::kill(pid_, SIGTERM);
        ::waitpid(pid_, nullptr, 0);
    }
    std::error_code ignored;
    fs::remove_all(folder_, ignored);
}

std::string http_server::endpoint(bool tls) const
{
    return (tls ? "https://127.0.0.1:" : "http://127.0.0.1:") + std::to_string(tls ? secure_ : plain_);
}

} // namespace perf
