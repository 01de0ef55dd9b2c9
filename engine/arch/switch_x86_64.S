/*
 * The context switch of x86-64 (System V ABI, section 3.2.1: rbx, rbp, r12 to r15, the control bits
 * of MXCSR and the x87 control word belong to the caller).
 *
 * A stopped stack, from its saved sp upwards:
 *	+0  MXCSR, x87 control word	+8 r15	+16 r14	+24 r13	+32 r12	+40 rbx	+48 rbp
 *	+56 where to go on
 * and above that 128 bytes that may be the red zone of the function that stopped.
 */
#if defined(__x86_64__)

#define MXCSR_CONTROL 0xffc0

	.text

/* In: rdi where to store the stack pointer, rsi the one to load, rax where to go on later. */
	.globl	whi_switch
	.hidden	whi_switch
	.type	whi_switch, @function
	.p2align 5
whi_switch:
	.cfi_startproc
	/* Reached by a jump from whi_context_switch: this frame is that function's. */
	.cfi_undefined rip
	leaq	-128(%rsp), %rsp
	pushq	%rax
	pushq	%rbp
	pushq	%rbx
	pushq	%r12
	pushq	%r13
	pushq	%r14
	pushq	%r15
	subq	$8, %rsp
	stmxcsr	(%rsp)
	fnstcw	4(%rsp)
	movl	(%rsp), %edx
	movzwl	4(%rsp), %ecx
	movq	%rsp, (%rdi)
	movq	%rsi, %rsp
	/* Loading the control words is slow, and they hardly ever differ, unlike the status bits
	 * of MXCSR, which any inexact result sets and no caller expects back. */
	xorl	(%rsp), %edx
	testl	$MXCSR_CONTROL, %edx
	jnz	2f
	cmpw	4(%rsp), %cx
	jne	2f
1:
	addq	$8, %rsp
	popq	%r15
	popq	%r14
	popq	%r13
	popq	%r12
	popq	%rbx
	popq	%rbp
	popq	%rax
	leaq	128(%rsp), %rsp
	jmpq	*%rax
2:
	ldmxcsr	(%rsp)
	fldcw	4(%rsp)
	jmp	1b
	.cfi_endproc
	.size	whi_switch, .-whi_switch

/* Where a new context begins: rbx is its function, r12 the argument. Unwinding ends here. */
	.globl	whi_context_entry
	.hidden	whi_context_entry
	.type	whi_context_entry, @function
	.p2align 5
whi_context_entry:
	.cfi_startproc
	.cfi_undefined rip
	endbr64
	movq	%r12, %rdi
	xorl	%ebp, %ebp
	callq	*%rbx
	ud2
	.cfi_endproc
	.size	whi_context_entry, .-whi_context_entry

	.section .note.GNU-stack, "", @progbits

/* IBT yes, SHSTK no. */
	.section .note.gnu.property, "a"
	.p2align 3
	.long	4
	.long	16
	.long	5
	.asciz	"GNU"
	.long	0xc0000002
	.long	4
	.long	1
	.long	0

#endif
