#include "program.h"

#include <errno.h>
#include <fcntl.h>
#include <gelf.h>
#include <libelf.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "command.h"

#define SCRIPT_LINE 256 /* as much of the first line as the kernel reads */
#define BLANKS      " \t"

static bool is_program(const char *path);
static void read_script(const char *line, struct program *program);
static void find_for_env(char *words, struct program *program);
static void read_elf(Elf *elf, int file, struct program *program);
static void read_segments(Elf *elf, int file, struct program *program);
static void read_sections(Elf *elf, struct program *program);
static void read_dynamic(Elf *elf, Elf_Scn *section, const GElf_Shdr *header, struct program *program);
static bool gains_privileges(int file);

int program_find(const char *name, char path[PATH_MAX])
{
    if (strchr(name, '/')) {
        snprintf(path, PATH_MAX, "%s", name);
        if (is_program(path))
            return 0;
        return errno == ENOENT || errno == ENOTDIR ? STATUS_NOT_FOUND : STATUS_NOT_EXECUTABLE;
    }
    char usual[1024] = "";
    const char *folders = getenv("PATH");
    if (!folders) {
        confstr(_CS_PATH, usual, sizeof usual);
        folders = usual;
    }
    int error = ENOENT;
    for (const char *at = folders; *name; at++) {
        size_t length = strcspn(at, ":");
        int written = snprintf(path, PATH_MAX, "%.*s%s%s", (int)length, at, length ? "/" : "", name);
        if (written < PATH_MAX && is_program(path))
            return 0;
        if (written < PATH_MAX && errno != ENOENT && errno != ENOTDIR)
            error = errno; /* execvp goes on, and says this in the end */
        at += length;
        if (!*at)
            break;
    }
    errno = error;
    return error == ENOENT ? STATUS_NOT_FOUND : STATUS_NOT_EXECUTABLE;
}

bool program_read(const char *path, struct program *program)
{
    *program = (struct program){.kind = PROGRAM_OTHER};
    int file = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (file < 0)
        return false;
    char line[SCRIPT_LINE + 1] = "";
    ssize_t length = pread(file, line, SCRIPT_LINE, 0);
    if (length >= SELFMAG && memcmp(line, ELFMAG, SELFMAG) == 0 && elf_version(EV_CURRENT) != EV_NONE) {
        Elf *elf = elf_begin(file, ELF_C_READ, NULL);
        if (elf && elf_kind(elf) == ELF_K_ELF)
            read_elf(elf, file, program);
        elf_end(elf);
    } else if (length >= 2 && line[0] == '#' && line[1] == '!') {
        read_script(line, program);
    }
    close(file);
    return length >= 0;
}

struct machine_text program_machine(const struct program *program)
{
    static const struct {
        int machine;
        const char *name;
    } machines[] = {
        {EM_386, "x86"},      {EM_X86_64, "x86-64"},      {EM_ARM, "ARM"},       {EM_AARCH64, "ARM"},
        {EM_RISCV, "RISC-V"}, {EM_PPC, "PowerPC"},        {EM_PPC64, "PowerPC"}, {EM_S390, "System z"},
        {EM_MIPS, "MIPS"},    {EM_LOONGARCH, "LoongArch"}};
    struct machine_text result;
    const char *bits = program->class == ELFCLASS64 ? "64-bit" : "32-bit";
    for (size_t i = 0; i < sizeof machines / sizeof machines[0]; i++)
        if (machines[i].machine == program->machine) {
            snprintf(result.text, sizeof result.text, "%s %s", bits, machines[i].name);
            return result;
        }
    snprintf(result.text, sizeof result.text, "%s machine %d", bits, program->machine);
    return result;
}

/* errno says why not. */
static bool is_program(const char *path)
{
    struct stat status;
    if (stat(path, &status) != 0)
        return false;
    if (!S_ISREG(status.st_mode)) {
        errno = S_ISDIR(status.st_mode) ? EISDIR : EACCES;
        return false;
    }
    return faccessat(AT_FDCWD, path, X_OK, AT_EACCESS) == 0;
}

static void read_script(const char *line, struct program *program)
{
    char words[SCRIPT_LINE + 1];
    program->kind = PROGRAM_SCRIPT;
    const char *at = line + 2 + strspn(line + 2, BLANKS);
    snprintf(words, sizeof words, "%.*s", (int)strcspn(at, "\r\n"), at);
    size_t length = strcspn(words, BLANKS);
    char *rest = words + length;
    if (*rest)
        *rest++ = '\0';
    const char *slash = strrchr(words, '/');
    if (strcmp(slash ? slash + 1 : words, "env") == 0)
        find_for_env(rest, program);
    else
        snprintf(program->interpreter, sizeof program->interpreter, "%s", words);
}

/* `#!/usr/bin/env python3`, `#!/usr/bin/env -S NAME=value perl -w`: the first word that is the program. */
static void find_for_env(char *words, struct program *program)
{
    char *rest = NULL;
    for (char *word = strtok_r(words, BLANKS, &rest); word; word = strtok_r(NULL, BLANKS, &rest)) {
        if (word[0] == '-' || strchr(word, '='))
            continue;
        if (program_find(word, program->interpreter) != 0)
            program->interpreter[0] = '\0';
        return;
    }
}

static void read_elf(Elf *elf, int file, struct program *program)
{
    GElf_Ehdr header;
    if (!gelf_getehdr(elf, &header))
        return;
    program->kind = PROGRAM_ELF;
    program->class = gelf_getclass(elf);
    program->machine = header.e_machine;
    program->gains_privileges = gains_privileges(file);
    read_segments(elf, file, program);
    read_sections(elf, program);
}

static void read_segments(Elf *elf, int file, struct program *program)
{
    size_t count = 0;
    elf_getphdrnum(elf, &count);
    for (size_t i = 0; i < count; i++) {
        GElf_Phdr header;
        if (!gelf_getphdr(elf, (int)i, &header) || header.p_type != PT_INTERP)
            continue;
        size_t most = sizeof program->loader - 1;
        size_t size = header.p_filesz < most ? header.p_filesz : most;
        program->has_interpreter = pread(file, program->loader, size, (off_t)header.p_offset) > 0;
        program->is_musl = strstr(program->loader, "/ld-musl-") != NULL;
    }
}

/* The Go linker leaves notes of it in every program, stripped or not. */
static void read_sections(Elf *elf, struct program *program)
{
    size_t names;
    if (elf_getshdrstrndx(elf, &names) != 0)
        return;
    for (Elf_Scn *section = elf_nextscn(elf, NULL); section; section = elf_nextscn(elf, section)) {
        GElf_Shdr header;
        const char *name = gelf_getshdr(section, &header) ? elf_strptr(elf, names, header.sh_name) : NULL;
        if (name && (strcmp(name, ".note.go.buildid") == 0 || strcmp(name, ".go.buildinfo") == 0))
            program->is_go = true;
        if (name && header.sh_type == SHT_DYNAMIC)
            read_dynamic(elf, section, &header, program);
    }
}

static void read_dynamic(Elf *elf, Elf_Scn *section, const GElf_Shdr *header, struct program *program)
{
    static const char own_name[] = "libresil";
    Elf_Data *data = elf_getdata(section, NULL);
    GElf_Dyn entry;
    program->needs_nothing = data != NULL;
    for (int i = 0; data && header->sh_entsize && (GElf_Xword)i < header->sh_size / header->sh_entsize; i++) {
        if (!gelf_getdyn(data, i, &entry))
            continue;
        if (entry.d_tag == DT_NEEDED)
            program->needs_nothing = false;
        const char *name =
            entry.d_tag == DT_SONAME ? elf_strptr(elf, header->sh_link, entry.d_un.d_val) : NULL;
        program->is_libresil |= name && strncmp(name, own_name, sizeof own_name - 1) == 0;
    }
}

static bool gains_privileges(int file)
{
    struct stat status;
    if (fstat(file, &status) != 0)
        return false;
    bool is_other_user = status.st_mode & S_ISUID && status.st_uid != getuid();
    bool is_other_group =
        (status.st_mode & (S_ISGID | S_IXGRP)) == (S_ISGID | S_IXGRP) && status.st_gid != getgid();
    bool has_capabilities = getuid() != 0 && fgetxattr(file, "security.capability", NULL, 0) > 0;
    return is_other_user || is_other_group || has_capabilities;
}
