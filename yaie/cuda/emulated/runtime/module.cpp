// The variables of the module that runs, from its symbol table (static ones too, which dladdr does not know).
#include <cxxabi.h>
#include <elf.h>

#include <cstdio>

#include "runtime.h"

namespace emu {
namespace {

// A variable's name as it is in the file: a static one of a function is `function(...)::name` to some compilers.
std::string plain_name(const char* symbol) {
  int status = 0;
  char* plain = abi::__cxa_demangle(symbol, nullptr, nullptr, &status);
  std::string name = plain ? plain : symbol;
  free(plain);
  size_t inside = name.rfind(')'), own = name.find("::", inside == std::string::npos ? name.size() : inside);
  if (own != std::string::npos) name = name.substr(own + 2);
  size_t prefix = name.find("emu_const_");  // of rewrite.py
  return prefix == std::string::npos ? name : name.erase(prefix, strlen("emu_const_"));
}

std::vector<char> contents(const std::string& path) {
  std::vector<char> bytes;
  FILE* file = fopen(path.c_str(), "rb");
  if (!file) return bytes;
  char part[1 << 16];
  for (size_t n; (n = fread(part, 1, sizeof part, file)) > 0;) bytes.insert(bytes.end(), part, part + n);
  fclose(file);
  return bytes;
}

std::vector<Variable> read_variables(const std::string& path, Address base) {
  std::vector<Variable> found;
  std::vector<char> file = contents(path);
  if (file.size() < sizeof(Elf64_Ehdr)) return found;
  auto* header = reinterpret_cast<const Elf64_Ehdr*>(file.data());
  auto* sections = reinterpret_cast<const Elf64_Shdr*>(file.data() + header->e_shoff);
  for (unsigned i = 0; i < header->e_shnum; ++i) {
    if (sections[i].sh_type != SHT_SYMTAB) continue;
    auto* symbols = reinterpret_cast<const Elf64_Sym*>(file.data() + sections[i].sh_offset);
    const char* names = file.data() + sections[sections[i].sh_link].sh_offset;
    for (size_t k = 0; k < sections[i].sh_size / sizeof(Elf64_Sym); ++k) {
      const Elf64_Sym& s = symbols[k];
      if (ELF64_ST_TYPE(s.st_info) != STT_OBJECT || !s.st_size || s.st_shndx == SHN_UNDEF) continue;
      std::string name = plain_name(names + s.st_name);
      if (name.rfind("emu_key", 0) == 0) continue;  // of rewrite.py: what is next to it goes past something of the file's
      found.push_back({base + s.st_value, base + s.st_value + s.st_size, std::move(name)});
    }
  }
  std::sort(found.begin(), found.end(), [](const Variable& a, const Variable& b) { return a.begin < b.begin; });
  return found;
}

}  // namespace

const Variable* variable_near(Address a) {
  static std::vector<Variable> variables;
  static Address module = 0;
  static const Variable* last = nullptr;
  if (UNLIKELY(module != session.module_base)) {
    variables = read_variables(session.module_path, session.module_base);
    module = session.module_base;
    last = nullptr;
  }
  if (last && a - last->begin < last->end - last->begin) return last;
  if (variables.empty()) return nullptr;
  auto after = std::upper_bound(variables.begin(), variables.end(), a, [](Address x, const Variable& v) { return x < v.begin; });
  if (after == variables.begin()) return &*after;
  auto before = after - 1;
  if (a < before->end) return last = before->is_guard() && before != variables.begin() ? &*(before - 1) : &*before;
  bool has_next = after != variables.end() && !after->is_guard();
  return last = has_next && after->begin - a < a - before->end ? &*after : &*before;
}

}  // namespace emu
