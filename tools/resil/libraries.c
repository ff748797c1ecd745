#include "libraries.h"

#include <errno.h>
#include <fcntl.h>
#include <gelf.h>
#include <libelf.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "coverage.h"
#include "message.h"
#include "program.h"

static void add(struct libraries *libraries, const char *path, bool is_missing);
static void read_symbols(struct object *object);
static void note(char ***names, size_t *count, const char *name);
static void read_line(struct libraries *libraries, char *line);
static bool is_ours(const char *loader);
static pid_t start(const char *loader, const char *path, int *output);

const char *libraries_find(const char *path, const char *loader, struct libraries *libraries)
{
    *libraries = (struct libraries){.count = 0};
    add(libraries, path, false);
    /* Another loader is a program that we know nothing of. */
    if (!is_ours(loader))
        return "its loader is not the one of this system";
    int output;
    pid_t pid = start(loader, path, &output);
    FILE *lines = pid > 0 ? fdopen(output, "r") : NULL;
    if (!lines)
        return strerror(errno);
    char line[PATH_MAX + 300];
    while (fgets(line, sizeof line, lines))
        read_line(libraries, line);
    fclose(lines);
    int status = 0;
    waitpid(pid, &status, 0);
    return WIFEXITED(status) && WEXITSTATUS(status) == 0 ? NULL : "the loader refuses it";
}

void libraries_end(struct libraries *libraries)
{
    for (size_t i = 0; i < libraries->count; i++) {
        struct object *object = &libraries->objects[i];
        for (size_t n = 0; n < object->import_count; n++)
            free(object->imports[n]);
        for (size_t n = 0; n < object->definition_count; n++)
            free(object->definitions[n]);
        free(object->imports);
        free(object->definitions);
        free(object->path);
    }
    free(libraries->objects);
    *libraries = (struct libraries){.count = 0};
}

bool object_imports(const struct object *object, const char *function)
{
    for (size_t i = 0; i < object->import_count; i++)
        if (strcmp(object->imports[i], function) == 0)
            return true;
    return false;
}

static void add(struct libraries *libraries, const char *path, bool is_missing)
{
    libraries->objects = grow(libraries->objects, (libraries->count + 1) * sizeof *libraries->objects);
    struct object *object = &libraries->objects[libraries->count++];
    *object = (struct object){.path = copy_of(path), .is_missing = is_missing};
    const char *slash = strrchr(object->path, '/');
    object->name = slash ? slash + 1 : object->path;
    object->is_libc = strncmp(object->name, "libc.so.", 8) == 0 ||
                      strncmp(object->name, "ld-linux", 8) == 0 ||
                      strncmp(object->name, "libpthread.so.", 14) == 0;
    if (!is_missing && !object->is_libc)
        read_symbols(object);
}

static void read_symbols(struct object *object)
{
    int file = open(object->path, O_RDONLY | O_CLOEXEC);
    Elf *elf = file >= 0 && elf_version(EV_CURRENT) != EV_NONE ? elf_begin(file, ELF_C_READ, NULL) : NULL;
    for (Elf_Scn *section = elf ? elf_nextscn(elf, NULL) : NULL; section;
         section = elf_nextscn(elf, section)) {
        GElf_Shdr header;
        if (!gelf_getshdr(section, &header) || header.sh_type != SHT_DYNSYM || !header.sh_entsize)
            continue;
        Elf_Data *data = elf_getdata(section, NULL);
        for (size_t i = 1; data && i < header.sh_size / header.sh_entsize; i++) {
            GElf_Sym symbol;
            const char *name =
                gelf_getsym(data, (int)i, &symbol) ? elf_strptr(elf, header.sh_link, symbol.st_name) : NULL;
            if (!name || GELF_ST_BIND(symbol.st_info) == STB_LOCAL)
                continue;
            if (symbol.st_shndx == SHN_UNDEF && coverage_find(name) >= 0)
                note(&object->imports, &object->import_count, name);
            else if (symbol.st_shndx != SHN_UNDEF && coverage_is_hooked(name))
                note(&object->definitions, &object->definition_count, name);
        }
    }
    elf_end(elf);
    if (file >= 0)
        close(file);
}

/* Each once, though there may be several versions. */
static void note(char ***names, size_t *count, const char *name)
{
    for (size_t i = 0; i < *count; i++)
        if (strcmp((*names)[i], name) == 0)
            return;
    *names = grow(*names, (*count + 1) * sizeof **names);
    (*names)[(*count)++] = copy_of(name);
}

/* "	libc.so.6 => /lib/libc.so.6 (0x...)", "	/lib64/ld-linux-x86-64.so.2 (0x...)"; at the first that is not there
 * "PROGRAM: error while loading shared libraries: libx.so: cannot open shared object file: ..." and nothing else. */
static void read_line(struct libraries *libraries, char *line)
{
    static const char missing[] = ": error while loading shared libraries: ";
    char *name = line + strspn(line, " \t"), *arrow = strstr(name, " => "), *end = strstr(name, " (0x");
    char *error = strstr(line, missing);
    if (error) {
        error += sizeof missing - 1;
        error[strcspn(error, ":\n")] = '\0';
        add(libraries, error, true);
        return;
    }
    if (end)
        *end = '\0';
    const char *path = arrow ? arrow + 4 : name;
    if (end && path[0] == '/') /* the vdso is no file */
        add(libraries, path, false);
}

static bool is_ours(const char *loader)
{
    static struct program own;
    return program_read("/proc/self/exe", &own) && strcmp(own.loader, loader) == 0;
}

static pid_t start(const char *loader, const char *path, int *output)
{
    int ends[2];
    if (pipe2(ends, O_CLOEXEC) != 0)
        return -1;
    pid_t pid = fork();
    if (pid == 0) {
        dup2(ends[1], STDOUT_FILENO);
        dup2(ends[1], STDERR_FILENO);
        unsetenv("LD_PRELOAD");
        execl(loader, loader, "--list", path, (char *)NULL);
        _exit(127);
    }
    close(ends[1]);
    if (pid < 0)
        close(ends[0]);
    *output = ends[0];
    return pid;
}
