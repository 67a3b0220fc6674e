/* python.exe of Windows: it loads python311.dll. Under Wine 8, what that lacks or does otherwise is mended first. */
#include <complex.h>
#include <stdio.h>
#include <string.h>
#include <wchar.h>
#undef I /* <windows.h> has parameters of that name */
#include <windows.h>

typedef int (*main_function)(int, wchar_t **);

/* Of complex numbers; long double is double on Windows. */
#define ALL(name) \
    {"ucrtbase.dll", #name, (void *)name}, {"ucrtbase.dll", #name "f", (void *)name##f}, \
    {"ucrtbase.dll", #name "l", (void *)name}

static BOOL WINAPI node_mask(USHORT node, GROUP_AFFINITY *mask) {
    DWORD_PTR own, system;
    GetProcessAffinityMask(GetCurrentProcess(), &own, &system);
    memset(mask, 0, sizeof *mask);
    if (node == 0) mask->Mask = system;
    return TRUE;
}

/* Wine's own tells no error number where another handle holds the bytes. */
static int locking(int number, int mode, long n_bytes) {
    HMODULE crt = GetModuleHandleA("ucrtbase.dll");
    HANDLE file = (HANDLE)((intptr_t (*)(int))(void *)GetProcAddress(crt, "_get_osfhandle"))(number);
    int *error = ((int *(*)(void))(void *)GetProcAddress(crt, "_errno"))();
    DWORD from = SetFilePointer(file, 0, 0, FILE_CURRENT);
    if (mode == 0) { /* LK_UNLCK */
        if (UnlockFile(file, from, 0, n_bytes, 0)) return 0;
        return *error = 13 /* EACCES */, -1;
    }
    int is_waiting = mode == 1 || mode == 3; /* LK_LOCK, LK_RLCK */
    for (int i = 0; i < (is_waiting ? 10 : 1); i++) {
        if (i) Sleep(1000);
        if (LockFile(file, from, 0, n_bytes, 0)) return 0;
    }
    return *error = is_waiting ? 36 /* EDEADLOCK */ : 13, -1;
}

/* Wine's own says that it made a link, and made none. */
static BOOLEAN WINAPI no_link(LPCWSTR link, LPCWSTR target, DWORD flags) {
    (void)link, (void)target, (void)flags;
    SetLastError(ERROR_PRIVILEGE_NOT_HELD);
    return FALSE;
}

/* Windows' clock ticks 64 times a second: Dask looks for two times that are the same. */
static void WINAPI coarse_time(FILETIME *time) {
    ULARGE_INTEGER now;
    GetSystemTimePreciseAsFileTime(time);
    now.LowPart = time->dwLowDateTime, now.HighPart = time->dwHighDateTime;
    now.QuadPart -= now.QuadPart % 156250;
    time->dwLowDateTime = now.LowPart, time->dwHighDateTime = now.HighPart;
}

static const struct { const char *dll, *name; void *function; } lacking[] = {
    ALL(cabs), ALL(cacos), ALL(cacosh), ALL(carg), ALL(casin), ALL(casinh), ALL(catan), ALL(catanh), ALL(ccos), ALL(ccosh),
    ALL(cexp), ALL(cimag), ALL(clog), ALL(conj), ALL(cpow), ALL(cproj), ALL(creal), ALL(csin), ALL(csinh), ALL(csqrt),
    ALL(ctan), ALL(ctanh), {"ucrtbase.dll", "_locking", (void *)locking},
    {"kernel32.dll", "CreateSymbolicLinkW", (void *)no_link},
    {"kernel32.dll", "GetSystemTimeAsFileTime", (void *)coarse_time},
    {"kernel32.dll", "GetNumaNodeProcessorMaskEx", (void *)node_mask},
};

/* Written over Wine's own, of which most end the program. */
static void mend_wine(void) {
    for (size_t i = 0; i < sizeof lacking / sizeof *lacking; i++) {
        unsigned char *at = (void *)GetProcAddress(LoadLibraryA(lacking[i].dll), lacking[i].name);
        DWORD before;
        if (!at || !VirtualProtect(at, 12, PAGE_EXECUTE_READWRITE, &before)) continue;
        memcpy(at, "\x48\xb8", 2); /* mov rax, function; jmp rax */
        memcpy(at + 2, &lacking[i].function, 8);
        memcpy(at + 10, "\xff\xe0", 2);
        VirtualProtect(at, 12, before, &before);
    }
}

int wmain(int argc, wchar_t **argv) {
    if (GetProcAddress(GetModuleHandleA("ntdll.dll"), "wine_get_version")) mend_wine();
    HMODULE dll = LoadLibraryW(L"python311.dll");
    main_function run = dll ? (main_function)(void *)GetProcAddress(dll, "Py_Main") : 0;
    if (!run) { fwprintf(stderr, L"python311.dll does not load: %lu\n", GetLastError()); return 9; }
    return run(argc, argv);
}
