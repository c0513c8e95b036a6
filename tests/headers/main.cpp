// SPDX-License-Identifier: Apache-2.0
//
// That this program could be built is the test: see CMakeLists.txt.
int main() {}
